"""Bytes and text of test material: one way in, with limits, and errors that name the place."""

import codecs
import hashlib
import re
from pathlib import Path

from inspector.fairness.items import BadStimuli, DataFile
from inspector.results import show_plain

MOST_BYTES = 256 * 2**20
MOST_CHARACTERS = 10_000  # of one cell; no sentence that a model can read is longer
ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # but tab and newline
PLAIN = re.compile("[!-~][ -~]{0,999}")  # what nothing can be wrong with: most cells
WIDE = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark begins alike
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_bytes(path: Path) -> tuple[bytes, DataFile]:
    """The bytes of a file and what identifies them.

    Raises BadStimuli where there is no such file, or it cannot be read or is too big.
    """
    shown = show_plain(str(path), 300)
    try:
        if not path.exists():
            raise BadStimuli(f"{shown}: there is no such file. Give the path of the data.")
        if not path.is_file():
            raise BadStimuli(f"{shown}: is no file. Give the path of a file.")
        if path.stat().st_size > MOST_BYTES:
            raise BadStimuli(f"{shown}: is larger than {MOST_BYTES >> 20} MB. Split it.")
        data = path.read_bytes()
    except OSError as error:
        raise BadStimuli(f"{shown}: cannot be read: {error.strerror}.") from None
    except ValueError:  # a NUL in the path
        raise BadStimuli(f"{shown}: is no path.") from None
    return data, data_file(path.name, data)


def data_file(name: str, data: bytes) -> DataFile:
    """What identifies the bytes of a file."""
    return DataFile(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def text_of(data: bytes, name: str) -> tuple[str, bool]:
    """The text of UTF-8 bytes with newlines as line ends, and whether a byte order mark was cut.

    A byte that is no UTF-8 becomes a lone surrogate, so that the row it stands in can be told
    from the others. Raises BadStimuli for UTF-16 and UTF-32, where no row can be read.
    """
    for mark, encoding in WIDE.items():
        if data.startswith(mark):
            raise BadStimuli(f"{show_plain(name)}: is {encoding}. Save it as UTF-8.")
    marked = data.startswith(codecs.BOM_UTF8)
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
    return text.replace("\r\n", "\n").replace("\r", "\n"), marked


def text_problem(text: str) -> tuple[str, str] | None:
    """What is wrong with the text of a cell: the kind and a phrase; None where nothing is."""
    if not text.strip():
        return "empty", "is empty"
    if len(text) > MOST_CHARACTERS:
        return "too long", f"has {len(text):,} characters; {MOST_CHARACTERS:,} are the most"
    odd = ODD.search(text)
    if odd is None:
        return None
    code, place = ord(odd[0]), odd.start() + 1
    if 0xDC80 <= code <= 0xDCFF:
        return "encoding", (
            f"is not UTF-8: byte 0x{code - 0xDC00:02x} at character {place} (Latin-1 or "
            "Windows-1252? Save the file as UTF-8)"
        )
    if 0xD800 <= code <= 0xDFFF:
        return "encoding", f"has half of a pair of surrogates at character {place}"
    return "control character", f"has control character 0x{code:02x} at character {place}"
