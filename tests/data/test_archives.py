import bz2
import errno
import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from databoost.data import archives
from databoost.data.archives import ENDINGS, Limits, archive_ending, unpack
from databoost.errors import SourceError

CONTENT = {"photos/train/i/a.png": b"first", "photos/train/i/b.png": b"", "photos/x.txt": b"x" * 99}
MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz", ".tar.bz2": "w:bz2"}


def tar_entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.type = kind
    return info


def write_tar(path: Path, members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, MODES[archive_ending(path.name)]) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


def write_zip(path: Path, members: Iterable[tuple[zipfile.ZipInfo | str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)
    return path


def write_archive(path: Path, content: dict[str, bytes]) -> Path:
    if archive_ending(path.name) == ".zip":
        return write_zip(path, content.items())
    return write_tar(path, ((tar_entry(name, data), data) for name, data in content.items()))


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(archive: Path, match: str, limits: Limits | None = None) -> None:
    """Check that unpacking fails before anything is written."""
    folder = archive.parent / "unpacked"
    with pytest.raises(SourceError, match=match):
        unpack(archive, folder, limits)
    assert not folder.exists()


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_kind_unpacks_to_the_same_files(tmp_path, ending):
    archive = write_archive(tmp_path / f"photos{ending.upper()}", CONTENT)
    unpack(archive, tmp_path / "unpacked")
    assert tree(tmp_path / "unpacked") == CONTENT


def test_folders_and_dots_in_names_are_harmless(tmp_path):
    folder = tar_entry("./a..b", kind=tarfile.DIRTYPE)
    archive = write_tar(tmp_path / "a.tar", [(folder, b""), (tar_entry("./a..b/c", b"c"), b"c")])
    unpack(archive, tmp_path / "tar")
    assert tree(tmp_path / "tar") == {"a..b/c": b"c"}
    unpack(write_zip(tmp_path / "a.zip", [("d/", b""), ("d/e", b"e")]), tmp_path / "zip")
    assert tree(tmp_path / "zip") == {"d/e": b"e"}


BAD_NAMES = {
    "../a.png": r"points outside of the archive \(\.\.\)",
    "a/../../b.png": r"points outside of the archive \(\.\.\)",
    "/etc/a.png": "has an absolute name",
    "C:a.png": "names a drive",
    "a\\b.png": "has a backslash in its name",
    "a\nb.png": "has control characters",
}


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_unsafe_names_are_refused(tmp_path, name, ending):
    archive = write_archive(tmp_path / f"photos{ending}", {"fine.png": b"", name: b"a"})
    refused(archive, f"photos{ending} is refused: its member .*{BAD_NAMES[name]}")


CLUTTER = (
    *("photos/Icon\r", "__MACOSX/photos/._Icon\r", ".git/a\\b", "photos/@eaDir/../a.png"),
    *("/tmp/.x", "C:/Thumbs.db", "photos/i/.a.png", ".git/a\\b", "../.x"),  # one of them twice
)


@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_hidden_and_ignored_members_are_left_out_whatever_their_names(tmp_path, ending):
    kept = {"photos/i/a.png": b"a", "photos/i/eaDir": b"b"}
    members = [*kept.items(), *((name, b"junk") for name in CLUTTER)]
    archive = tmp_path / f"a{ending}"
    if ending == ".zip":
        with pytest.warns(UserWarning, match="Duplicate name"):
            write_zip(archive, members)
    else:
        write_tar(archive, ((tar_entry(name, data), data) for name, data in members))
    unpack(archive, tmp_path / "x/unpacked")
    assert tree(tmp_path / "x") == {f"unpacked/{name}": data for name, data in kept.items()}
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name, "x"]


def test_links_and_folders_that_are_ignored_are_left_out(tmp_path):
    members = [
        (tar_entry("$RECYCLE.BIN", kind=tarfile.DIRTYPE), b""),
        (tar_entry(".link", kind=tarfile.SYMTYPE), b""),
        (tar_entry("lost+found/pipe", kind=tarfile.FIFOTYPE), b""),
        (tar_entry("a.png", b"a"), b"a"),
    ]
    unpack(write_tar(tmp_path / "a.tar", members), tmp_path / "unpacked")
    assert [path.name for path in (tmp_path / "unpacked").rglob("*")] == ["a.png"]


@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_what_is_left_out_counts_against_the_limits(tmp_path, ending):
    archive = write_archive(tmp_path / f"a{ending}", {"a": b"1" * 60, ".b": b"2" * 40})
    refused(archive, r"member '\.b' it unpacks to 100 bytes; allowed are 99", Limits(n_bytes=99))
    refused(archive, "holds more than 1 files and folders", Limits(n_members=1))
    unpack(archive, tmp_path / "whole", Limits(n_bytes=100))
    assert tree(tmp_path / "whole") == {"a": b"1" * 60}


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused_in_tar(tmp_path, kind):
    info = tar_entry("link.png", kind=kind)
    info.linkname = "fine.png"
    archive = write_tar(tmp_path / "a.tar", [(tar_entry("fine.png"), b""), (info, b"")])
    refused(archive, "member 'link.png' is a link or a device")


def test_a_hard_link_is_refused_with_the_way_to_pack_files(tmp_path):
    info = tar_entry("link.png", kind=tarfile.LNKTYPE)
    info.linkname = "fine.png"
    archive = write_tar(tmp_path / "a.tar", [(tar_entry("fine.png"), b""), (info, b"")])
    match = (
        r"^a\.tar is refused: its member 'link\.png' is a hard link; allowed are folders and "
        r"regular files .*: pack the images again with `tar --hard-dereference`$"
    )
    refused(archive, match)


@pytest.mark.parametrize("kind", [0o120777, 0o020666, 0o010666])
def test_links_and_devices_are_refused_in_zip(tmp_path, kind):
    info = zipfile.ZipInfo("link.png")
    info.create_system = 3
    info.external_attr = kind << 16
    refused(write_zip(tmp_path / "a.zip", [(info, b"/etc")]), "'link.png' is a link or a device")


def test_encrypted_zip_is_refused(tmp_path):
    archive = write_zip(tmp_path / "a.zip", [("secret.png", b"abc")])
    content = bytearray(archive.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    refused(archive, "member 'secret.png' is encrypted")


def test_zero_byte_in_a_zip_name_is_refused(tmp_path):
    archive = write_zip(tmp_path / "a.zip", [("a.pngX.exe", b"abc")])
    archive.write_bytes(archive.read_bytes().replace(b"a.pngX.exe", b"a.png\0.exe"))
    refused(archive, "has control characters in its name")


def clear_utf8_flags(archive: Path) -> Path:
    """Leave unsaid that the names are UTF-8, as the Finder of macOS does."""
    content = bytearray(archive.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(mark)
        while start >= 0:
            content[start + at + 1] &= ~0x08
            start = content.find(mark, start + 4)
    archive.write_bytes(content)
    return archive


def test_names_of_a_zip_are_utf8_whether_it_says_so_or_not(tmp_path):
    members = [("caf\u00e9/a.png", b"1"), ("\u56db/", b""), ("\u56db/b.png", b"2")]
    archive = write_zip(tmp_path / "a.zip", members)
    unpack(archive, tmp_path / "said")
    with zipfile.ZipFile(clear_utf8_flags(archive)) as opened:
        assert opened.namelist()[0] == "caf\u251c\u2310/a.png"
    unpack(archive, tmp_path / "unsaid")
    expected = {"caf\u00e9/a.png": b"1", "\u56db/b.png": b"2"}
    assert tree(tmp_path / "said") == tree(tmp_path / "unsaid") == expected


def test_other_names_of_a_zip_are_of_code_page_437(tmp_path):
    archive = clear_utf8_flags(write_zip(tmp_path / "a.zip", [("caf\u00e9", b"1")]))
    archive.write_bytes(archive.read_bytes().replace("caf\u00e9".encode(), b"ca\x82\xe1f"))
    unpack(archive, tmp_path / "unpacked")
    assert tree(tmp_path / "unpacked") == {"ca\u00e9\u00dff": b"1"}


def test_a_member_that_appears_twice_is_refused(tmp_path):
    members = [(tar_entry("a.png", b"1"), b"1"), (tar_entry("./a.png", b"2"), b"2")]
    refused(write_tar(tmp_path / "a.tar", members), r"member './a.png' appears twice")


def test_a_file_that_is_also_a_folder_can_not_be_unpacked(tmp_path):
    archive = write_archive(tmp_path / "a.zip", {"a": b"1", "a/b": b"2"})
    with pytest.raises(SourceError, match=r"a.zip can't be unpacked \(FileExistsError"):
        unpack(archive, tmp_path / "unpacked")


def test_allowed_bytes_is_the_smallest_of_the_caps():
    limits = Limits(n_bytes=1000, ratio=10, n_free_bytes=50)
    assert [limits.allowed_bytes(size) for size in (0, 5, 6, 100, 101)] == [50, 50, 60, 1000, 1000]


@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_total_size_is_allowed_up_to_the_limit(tmp_path, ending):
    archive = write_archive(tmp_path / f"a{ending}", {"a": b"1" * 60, "b": b"2" * 40})
    refused(archive, "member 'b' it unpacks to 100 bytes; allowed are 99 bytes", Limits(n_bytes=99))
    unpack(archive, tmp_path / "whole", Limits(n_bytes=100))
    assert tree(tmp_path / "whole") == {"a": b"1" * 60, "b": b"2" * 40}


@pytest.mark.parametrize("ending", [".zip", ".tar.bz2"])
def test_bombs_are_refused_by_their_ratio(tmp_path, ending):
    archive = write_archive(tmp_path / f"bomb{ending}", {"zeros": bytes(70 * 2**20)})
    assert archive.stat().st_size < 80_000
    refused(archive, r"it unpacks to 73,400,320 bytes.*allowed are 67,108,864")


def test_too_many_members_are_refused(tmp_path):
    archive = write_archive(tmp_path / "a.tar.gz", {str(number): b"" for number in range(4)})
    refused(archive, "more than 3 files and folders, which is the limit", Limits(n_members=3))
    unpack(archive, tmp_path / "whole", Limits(n_members=4))
    assert len(tree(tmp_path / "whole")) == 4


def test_zeros_after_the_end_mark_are_refused(tmp_path):
    end = bytes(2**20)
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(end))
    refused(archive, r"unpacks to 262,656 bytes or more", Limits(n_bytes=100, n_members=2))


def test_a_huge_or_negative_header_is_refused_before_it_is_read(tmp_path):
    for size, shown in ((2**40, "1,099,511,627,776"), (-512, "-512")):
        header = bytearray(tar_entry("name", kind=tarfile.GNUTYPE_LONGNAME).tobuf())
        field = size.to_bytes(12, "big", signed=True)
        header[124:136] = field if size < 0 else bytes([0x80]) + field[1:]
        header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:512]))
        (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
        refused(tmp_path / "a.tar", f"has a header of {shown} bytes; allowed are 1,048,576")


@pytest.mark.parametrize("name", ["a.png", ".a.png"])
def test_a_negative_size_is_refused(tmp_path, name):
    header = bytearray(tar_entry(name).tobuf())
    header[124:136] = (-512).to_bytes(12, "big", signed=True)
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:512]))
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
    refused(tmp_path / "a.tar", f"'{name}' has a size of -512 bytes")


def test_bytes_are_counted_while_they_are_written(tmp_path, monkeypatch):
    target = io.BytesIO()
    assert archives._copy(io.BytesIO(b"12345"), target, 5) == 5
    assert archives._copy(io.BytesIO(bytes(2**20)), io.BytesIO(), 5) < 2**20
    archive = write_archive(tmp_path / "a.zip", {"a": b"123456"})
    honest = archives._zip_member
    lying = {"n_bytes": 1}
    monkeypatch.setattr(
        archives, "_zip_member", lambda info: archives._Member(**(vars(honest(info)) | lying))
    )
    with pytest.raises(SourceError, match=r"unpacks to more than 5 bytes; allowed are 5 bytes"):
        unpack(archive, tmp_path / "unpacked", Limits(n_bytes=5))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_truncated_archive_is_no_archive(tmp_path, ending):
    archive = write_archive(tmp_path / f"a{ending}", {"a": b"a" * 3000, "b": b"b" * 3000})
    content = archive.read_bytes()
    for share in (0, 0.3, 0.6, 0.999):
        # An end mark may be padded; what is cut off from the padding is no loss.
        cut = int(len(content) * share) if ending != ".tar" else int(7680 * share)
        archive.write_bytes(content[:cut])
        refused(archive, rf"a{ending} can't be unpacked .*incomplete")


REFUSALS = [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS]


@pytest.mark.parametrize("number", REFUSALS)
@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_what_the_system_refuses_is_no_fault_of_the_archive(tmp_path, monkeypatch, ending, number):
    def refuse(*_) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(archives, "_copy", refuse)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        unpack(write_archive(tmp_path / f"a{ending}", CONTENT), tmp_path / "unpacked")
    assert caught.value.errno == number


def test_what_can_not_be_read_off_a_disk_is_damaged(tmp_path, monkeypatch):
    def fail(*_) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(archives, "_copy", fail)
    with pytest.raises(SourceError, match=r"can't be unpacked \(OSError: .*; it is damaged"):
        unpack(write_archive(tmp_path / "a.zip", CONTENT), tmp_path / "unpacked")


def test_a_damaged_header_is_not_taken_for_the_end_of_a_tar(tmp_path):
    archive = write_archive(tmp_path / "a.tar", {"a": b"a", "b": b"b"})
    content = bytearray(archive.read_bytes())
    content[1024 + 5] ^= 0xFF
    archive.write_bytes(content)
    refused(archive, r"can't be unpacked \(ReadError: no end mark at byte 1024")


def test_a_damaged_member_can_not_be_unpacked(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("a.png", b"content")
    archive.write_bytes(archive.read_bytes().replace(b"content", b"contend", 1))
    with pytest.raises(SourceError, match=r"can't be unpacked \(BadZipFile: Bad CRC-32"):
        unpack(archive, tmp_path / "unpacked")


def test_an_unknown_zip_method_can_not_be_unpacked(tmp_path):
    archive = write_zip(tmp_path / "a.zip", [("a.png", b"abc")])
    content = bytearray(archive.read_bytes())
    content[8:10] = struct.pack("<H", 9)
    position = content.index(b"PK\x01\x02") + 10
    content[position : position + 2] = struct.pack("<H", 9)
    archive.write_bytes(content)
    with pytest.raises(SourceError, match=r"can't be unpacked \(NotImplementedError"):
        unpack(archive, tmp_path / "unpacked")


def test_another_content_than_the_ending_says_can_not_be_unpacked(tmp_path):
    (tmp_path / "a.zip").write_bytes(bz2.compress(b"no zip"))
    refused(tmp_path / "a.zip", r"can't be unpacked \(BadZipFile.*not what its ending says")
    (tmp_path / "a.tar.gz").write_bytes(b"<html>not found</html>")
    refused(tmp_path / "a.tar.gz", r"can't be unpacked \(BadGzipFile.*name the folder")
