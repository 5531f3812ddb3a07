"""Writing files so that a reader, or a restart, never meets a part of one."""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part.

    Args:
        path: target in an existing directory.
        content: bytes, or text to be encoded as UTF-8.

    Raises:
        OSError: the file cannot be written.
        UnicodeEncodeError: the text has no encoding.
    """
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
