"""The encoders to be measured, with all that the measurement depends on."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from experiments.bert.configuration import BertStudy
from experiments.bert.data import Prepared
from experiments.bert.glue.examples import TaskData as GlueData
from experiments.bert.glue.models import find_models as find_bert
from experiments.bert.glue.study import read_all
from experiments.configuration import ConfigurationError, dump, plain
from experiments.mae.downstream.models import find_models as find_mae
from experiments.mae.downstream.task_data import TaskData as ImageData
from experiments.mae.reading import manifest_of
from experiments.mae.study import MaeStudy
from experiments.mechanisms.hull import bert_risks, mae_risks
from experiments.mechanisms.hull.configuration import Settings
from experiments.mechanisms.hull.study import Encoder
from experiments.mechanisms.hull.thetas import Theta, theta

__all__ = ["bert_encoders", "mae_encoders"]


def bert_encoders(
    study: BertStudy,
    models: Sequence[str],
    data: Path,
    glue: Path | None,
    out: Path,
    how: Settings,
) -> list[Encoder]:
    """Encoders of PoS-BERT, to be measured against the GLUE tasks of `study.fine_tuning`.

    Args:
        study: the configuration.
        models: folders of ``bert pretrain``, or of one model with its heads.
        data: the prepared folder, whose validation text is used.
        glue: folder or zip of GLUE's files; None: what the configuration says.
        out: generated tasks are written below.
        how: the measurement.

    Raises:
        ConfigurationError: models or data cannot be used.
    """
    prepared = Prepared(data)
    tasks = read_all(study.fine_tuning, glue, out)
    found = []
    for model in find_bert(models):
        if not Path(model.path).is_dir():
            raise ConfigurationError(
                f"--model {model.path}: should be a folder of `bert pretrain`, whose heads are "
                "needed; found none"
            )
        about = {
            "model": model.identity(),
            "prepared": prepared.record,
            "masking": dump(study.masking),
            "sequence_length": study.fine_tuning.sequence_length,
            "tasks": {each.task.name: each.describe()["splits"] for each in tasks},
        }
        work = partial(_bert, model.title, Path(model.path), study, prepared, tasks, how)
        found.append(Encoder(model.title, _configuration(how, about), work))
    return found


def mae_encoders(
    study: MaeStudy, models: Sequence[str], data: Path, downstream: Sequence[Path], how: Settings
) -> list[Encoder]:
    """Encoders of Multi-Modal Mask MAE, to be measured against the downstream tasks there are.

    Args:
        study: the configuration.
        models: folders of ``mae pretrain``, or of one model with its decoders.
        data: manifest, or folder of one, of held-out images with all modalities.
        downstream: the same for downstream tasks; each task is read from the first that has it.
        how: the measurement.

    Raises:
        ConfigurationError: models or data cannot be used, or there is no downstream task.
    """
    recipes = (study.downstream.cls, study.downstream.semseg, study.downstream.depth)
    served = [mae_risks.serving(recipe, list(downstream)) for recipe in recipes]
    tasks = [each for each in served if each is not None]
    if not tasks:
        raise ConfigurationError(
            f"--downstream {' '.join(map(str, downstream))}: should have classes of images, semseg "
            "or depth in metres, with rgb; found none of them"
        )
    found = []
    for model in find_mae(models):
        if model.folder is None:
            raise ConfigurationError(
                f"--model {model.title}: should be a folder of `mae pretrain`, whose decoders are "
                "needed"
            )
        about = {
            "model": model.identity(study.model),
            "images": manifest_of(data).header.identity,
            "held_out_split": study.held_out_split,
            "masking": dump(study.masking),
            "tasks": {each.how.task: each.manifest.header.identity for each in tasks},
            "recipes": {each.how.task: _recipe(each) for each in tasks},
        }
        work = partial(_mae, model.title, model.folder, study, data, tasks, how)
        found.append(Encoder(model.title, _configuration(how, about), work))
    return found


def _bert(
    title: str,
    folder: Path,
    study: BertStudy,
    prepared: Prepared,
    tasks: Sequence[GlueData],
    how: Settings,
) -> Theta:
    model = bert_risks.load_bert(folder, prepared)
    risks = bert_risks.upstream_risks(model, study, prepared, how)
    other = [place for place, name in enumerate(risks.names) if name in bert_risks.RELATED]
    upstream = [place for place in range(len(risks.names)) if place not in other]
    found = [bert_risks.glue_risk(model, each, prepared.tokenizer, study, how) for each in tasks]
    parameters = bert_risks.bert_parameters(model)
    parts = (risks.only(upstream), risks.only(other), found)
    return theta(title, parameters, bert_risks.BLOCKS, *parts, seed=how.seed)


def _mae(
    title: str,
    folder: Path,
    study: MaeStudy,
    data: Path,
    tasks: Sequence[ImageData],
    how: Settings,
) -> Theta:
    model = mae_risks.load_mae(folder)
    risks = mae_risks.upstream_risks(model, study, data, how)
    found = [mae_risks.downstream_risk(folder, each, how) for each in tasks]
    parameters = mae_risks.mae_parameters(model)
    return theta(title, parameters, mae_risks.BLOCKS, risks, risks.only([]), found, seed=how.seed)


def _recipe(data: ImageData) -> str:
    """What of a recipe plays a part here."""
    how = data.how
    return f"{how.train_split}, {data.test_split}, {how.inputs}, {how.image_size}"


def _configuration(how: Settings, about: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(plain(about), sort_keys=False, allow_unicode=True)
    return dump(how) + text
