"""Folders as values that can be compared."""


def tree(folder):
    """Content of all files below a folder by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
