"""What a class may be called: its label names a folder and stands in tables that people edit."""

import unicodedata


def canonical_label(label: str) -> str:
    r"""Give a label in Unicode's composed form (NFC), so that what looks the same is one class.

    macOS hands out an accented letter of a folder's name as the letter and the accent.

    >>> canonical_label("cafe\u0301") == "caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", label)


def label_look(label: str) -> str:
    r"""Give what is seen of a label, whatever its case: what folders and people take for one.

    >>> label_look("C\u200bAT") == label_look("cat")
    True
    """
    seen = (character for character in label if unicodedata.category(character) != "Cf")
    return canonical_label("".join(seen).casefold())


def label_fault(label: str) -> str:
    """Say why no class can be called so; empty if one can.

    >>> label_fault("train/i"), label_fault("i")
    ('holds a slash or a backslash', '')
    """
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in label):
        return "holds control characters or is not UTF-8"
    if not label.strip():
        return "is blank"
    if label != label.strip():
        return "begins or ends with a blank, which tables and sheets do not keep"
    if "/" in label or "\\" in label:
        return "holds a slash or a backslash"
    if label in (".", ".."):
        return "stands for a folder that is there already"
    if label.endswith(".part"):
        return "ends in .part, as unfinished files do"
    return ""
