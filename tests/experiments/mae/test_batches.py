import pytest
import torch
from torch.utils.data import DataLoader

from experiments.mae.batches import MaskingCollator
from experiments.mae.model.masking import TokenMasking
from tests.experiments.mae import samples

MASKING = TokenMasking((6, 6, 6), 5, seed=4)
COLLATOR = MaskingCollator(samples.SIZE.names, MASKING)


def rows(count=12):
    images = samples.images(samples=count)
    return [
        {**{name: values[i] for name, values in images.items()}, "index": i, "duplicate": i % 3}
        for i in range(count)
    ]


def test_a_batch_is_what_the_model_takes():
    batch = COLLATOR(rows(4))
    images = samples.images(samples=4)
    assert list(batch["modalities"]) == ["rgb", "depth", "semseg"]
    assert all(torch.equal(batch["modalities"][name], images[name]) for name in images)
    expected = [MASKING.sample(i % 3, i).tolist() for i in range(4)]
    assert batch["ids_keep"].tolist() == expected
    assert batch.keys() == {"modalities", "ids_keep", "mask"}
    assert (samples.model()(**batch).task_groups >= 0).any()


def test_pixels_of_known_value_go_along():
    given = [{**row, "depth_valid": row["depth"] > 0} for row in rows(3)]
    batch = COLLATOR(given)
    assert list(batch["valid"]) == ["depth"]
    assert torch.equal(batch["valid"]["depth"], batch["modalities"]["depth"] > 0)
    assert samples.model()(**batch).task_values.isfinite().all()


def test_without_a_duplicate_it_is_the_first():
    row = {name: value for name, value in rows(1)[0].items() if name != "duplicate"}
    assert COLLATOR([row])["ids_keep"][0].tolist() == MASKING.sample(0, 0).tolist()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_masks_depend_neither_on_order_nor_on_batches_nor_on_workers():
    def masks(**options):
        loader = DataLoader(rows(), collate_fn=Remembering(), **options)
        return {key: ids for batch in loader for key, ids in batch}

    expected = masks(batch_size=12)
    assert len(expected) == 12
    assert masks(batch_size=5) == expected
    shuffled = torch.randperm(12, generator=torch.Generator().manual_seed(0)).tolist()
    assert masks(batch_size=4, sampler=shuffled) == expected
    assert masks(batch_size=4, num_workers=2, multiprocessing_context="fork") == expected


class Remembering:
    """The visible tokens of each sample, by its index."""

    def __call__(self, given):
        indices = [each["index"] for each in given]
        return list(zip(indices, COLLATOR(given)["ids_keep"].tolist(), strict=True))


def test_what_cannot_be_put_together_is_named_by_its_sample():
    given = rows(3)
    del given[2]["depth"]
    with pytest.raises(ValueError, match=r"sample 2 should have `depth`; found \['duplicate'"):
        COLLATOR(given)
    given = rows(3)
    given[1]["semseg"] = torch.zeros(2, 2, dtype=torch.long)
    with pytest.raises(ValueError, match=r"`semseg` of sample 1 .*\(6, 4\) of sample 0; .*found"):
        COLLATOR(given)
    given = rows(3)
    given[0]["depth_valid"] = given[0]["depth"] > 0
    with pytest.raises(ValueError, match="sample 1 should have `depth_valid`"):
        COLLATOR(given)
