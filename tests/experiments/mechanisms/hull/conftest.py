"""Tiny studies of both kinds and their data, as their own tests have them."""

from tests.experiments.bert.conftest import prepared_folder, tiny
from tests.experiments.mae.conftest import one_thread, scene_folder, tiny_study

__all__ = ["one_thread", "prepared_folder", "scene_folder", "tiny", "tiny_study"]
