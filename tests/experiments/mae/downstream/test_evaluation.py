"""Two processes have the metrics of one, of an odd number of images."""

from functools import partial

import pytest

from tests.experiments.mae.downstream.evaluation_jobs import jobs
from tests.taskrobust.distributed.harness import Failure, run_on_ranks


def test_ranks_share_the_images_and_have_the_metrics_of_all(mosaic_folder, tmp_path):
    alone = {name: job(0) for name, job in jobs(mosaic_folder).items()}
    both = run_on_ranks(partial(jobs, mosaic_folder), 2, tmp_path)
    for name, expected in alone.items():
        assert expected["images"] == 15
        for found in (results[name] for results in both):
            assert not isinstance(found, Failure), found
            assert found.keys() == expected.keys()
            for metric, value in expected.items():
                assert found[metric].item() == pytest.approx(value.item(), abs=1e-6)
