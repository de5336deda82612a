"""Files of other formats under the wrong name, known by their first bytes and never read on."""

MAGIC = {  # first bytes of what is sent under the wrong name
    b"version https://git-lfs": ("ST-LFS", "a Git-LFS pointer, not the file it points to"),
    b"PK\x03\x04": ("PK-PICKLE", "a zip archive: the usual shape of a torch pickle"),
    b"\x80\x02": ("PK-PICKLE", "a pickle"),
    b"\x80\x03": ("PK-PICKLE", "a pickle"),
    b"\x80\x04": ("PK-PICKLE", "a pickle"),
    b"\x80\x05": ("PK-PICKLE", "a pickle"),
    b"GGUF": ("ST-FOREIGN", "a GGUF file"),
    b"\x89HDF": ("ST-FOREIGN", "an HDF5 file"),
    b"\x93NUMPY": ("ST-FOREIGN", "a NumPy array file"),
    b"<!DOCTYPE": ("ST-FOREIGN", "a web page"),
    b"<html": ("ST-FOREIGN", "a web page"),
}


def foreign(head: bytes, size: int) -> tuple[str, str] | None:
    """(finding id, what it is) of a file under the wrong name; None when it may be safetensors."""
    if head[8:9] in b"{ \t\r\n" and int.from_bytes(head[:8], "little") <= size - 8:
        return None
    for magic, found in MAGIC.items():
        # two bytes are also the length of some honest header that was cut off: zeros follow there
        if head.startswith(magic) and (len(magic) > 2 or any(head[3:8])):
            return found
    return None


def begins_like(head: bytes) -> str | None:
    """Which known format bytes begin like, if any."""
    return next((what for magic, (_, what) in MAGIC.items() if head.startswith(magic)), None)
