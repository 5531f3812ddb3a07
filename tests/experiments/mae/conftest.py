"""Without timm and torchvision (the extra mae) only the configuration can be tested."""

from importlib.util import find_spec

MISSING = [name for name in ("timm", "torchvision") if find_spec(name) is None]

collect_ignore_glob = ["model/*", "data/*", "test_batches.py", "test_ranks.py"] if MISSING else []
