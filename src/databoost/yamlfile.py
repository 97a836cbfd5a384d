"""YAML files that people edit too: read, changed and written with their comments."""

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from databoost.data.files import write_text
from databoost.errors import ParamsError


def read_yaml(path: Path) -> Any:
    """Read a file; the result keeps comments, order and quotes.

    Raises
    ------
    ParamsError
        If the file is missing or is not YAML in UTF-8.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            return _yaml().load(stream)
    except FileNotFoundError:
        hint = "; run databoost in a project folder, the one with params.yaml"
        raise ParamsError(
            f"{path} does not exist{hint if path.name == 'params.yaml' else ''}"
        ) from None
    except OSError as error:
        raise ParamsError(f"{path} cannot be read: {error.strerror}") from error
    except (YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date like 2024-13-45
        raise ParamsError(f"{path} is not readable YAML: {error}") from error


def write_yaml(path: Path, document: Any) -> None:
    """Write what :func:`read_yaml` gave, whole or not at all."""
    stream = io.StringIO()
    _yaml().dump(document, stream)
    write_text(path, stream.getvalue())


def assign(document: Any, key: str, value: Any) -> bool:
    """Set a dotted key that exists; gives whether it does.

    >>> document = {"boost": {"neighbors": 3}}
    >>> assign(document, "boost.neighbors", 5), assign(document, "boost.speed", 1), document
    (True, False, {'boost': {'neighbors': 5}})
    """
    *parents, last = key.split(".")
    for name in parents:
        if not isinstance(document, dict) or name not in document:
            return False
        document = document[name]
    if not isinstance(document, dict) or last not in document:
        return False
    document[last] = value
    return True


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    return yaml
