"""TIFF in row bands: the pixels of the in-memory path, whatever the layout, in memory that does not grow."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colora.devices.errors import ImageError
from colora.runtime.bands import restore_bands, why_whole
from colora.runtime.manifest import Tile
from colora.runtime.session import load

tifffile = pytest.importorskip("tifffile")

TILE = Tile(64, 8, 96)
LAYOUTS = {
    "strips": {"compression": "zlib", "predictor": True, "rowsperstrip": 7},
    "tiles": {"compression": "zlib", "tile": (32, 48)},
    "plain": {"rowsperstrip": 150},
    "plain strips": {"rowsperstrip": 16},
    "plain tiles": {"tile": (16, 16)},
    "planes": {"compression": "zlib", "planarconfig": "separate", "tile": (32, 32)},
    "plain planes": {"planarconfig": "separate", "rowsperstrip": 20},
    "big-endian": {"byteorder": ">", "rowsperstrip": 33},
    "BigTIFF": {"bigtiff": True, "tile": (64, 64)},
}


def tiff(path: Path, image: Any, byteorder: str = "<", bigtiff: bool = False, **layout: Any) -> Path:
    if layout.get("planarconfig") == "separate":
        image = np.moveaxis(image, 2, 0)
    with tifffile.TiffWriter(path, byteorder=byteorder, bigtiff=bigtiff) as out:
        out.write(np.ascontiguousarray(image), photometric="rgb", metadata=None, **layout)
    return path


def test_every_layout_gives_the_pixels_of_the_array(ort_bundle: Path, picture: Any, tmp_path: Path) -> None:
    eight = picture(150, 130)
    deep = eight.astype(np.uint16) * 257 + np.arange(130, dtype=np.uint16)[None, :, None]
    with load(ort_bundle, policy="refit") as session:
        expected = {image.dtype.name: session.restore(image, "rain") for image in (eight, deep)}
        for name, layout in LAYOUTS.items():
            for image in (eight, deep):
                source = tiff(tmp_path / "in.tif", image, **layout)
                assert why_whole(source, tmp_path / "out.tif", TILE) == "", name
                restore_bands(session, source, tmp_path / "out.tif", "rain")
                got = tifffile.imread(tmp_path / "out.tif")
                assert got.dtype == image.dtype
                assert np.array_equal(got, expected[image.dtype.name]), name
        assert not np.array_equal(expected["uint8"], eight)
        grey = eight[:, :, 0]
        tifffile.imwrite(tmp_path / "grey.tif", grey, photometric="minisblack", tile=(16, 16))
        restore_bands(session, tmp_path / "grey.tif", tmp_path / "out.tif", "rain", 0.5)
        assert np.array_equal(tifffile.imread(tmp_path / "out.tif"), session.restore(grey, "rain", 0.5))


def test_alpha_is_kept_as_it_is(ort_bundle: Path, picture: Any, tmp_path: Path) -> None:
    eight = np.dstack([picture(150, 130), np.random.default_rng(0).integers(0, 256, (150, 130), np.uint8)])
    deep = eight.astype(np.uint16) * 257
    source, out = tmp_path / "in.tif", tmp_path / "out.tif"
    with load(ort_bundle, policy="refit") as session:
        for layout in ({"rowsperstrip": 150}, LAYOUTS["tiles"], LAYOUTS["planes"]):
            for image in (eight, deep):
                tiff(source, image, **layout, extrasamples=["unassalpha"])
                restore_bands(session, source, out, "rain")
                with tifffile.TiffFile(out) as file:
                    assert file.pages[0].extrasamples == (2,)
                    got = file.pages[0].asarray()
                assert np.array_equal(got[:, :, :3], session.restore(image[:, :, :3], "rain"))
                assert np.array_equal(got[:, :, 3], image[:, :, 3])
                assert np.array_equal(got, session.restore(image, "rain"))
        tiff(source, eight, extrasamples=["unspecified"])
        restore_bands(session, source, out, "rain")
        assert np.array_equal(tifffile.imread(out), session.restore(eight[:, :, :3], "rain"))
        grey = np.ascontiguousarray(deep[:, :, 2:])
        tifffile.imwrite(
            source, grey, photometric="minisblack", extrasamples=["unassalpha"], planarconfig="contig"
        )
        restore_bands(session, source, out, "rain")
        assert np.array_equal(tifffile.imread(out), session.restore(grey, "rain"))


@pytest.mark.parametrize("compression", ["lzw", "packbits", "zstd", "jpeg"])
def test_other_compressions(compression: str, null_bundle: Path, picture: Any, tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    source = tiff(tmp_path / "in.tif", picture(100, 120), compression=compression, tile=(32, 32))
    with load(null_bundle, "null") as session:
        restore_bands(session, source, tmp_path / "out.tif", "rain")
    assert np.array_equal(tifffile.imread(tmp_path / "out.tif"), tifffile.imread(source))


def test_other_readers_take_the_result_and_its_colour_profile(
    null_bundle: Path, picture: Any, tmp_path: Path
) -> None:
    image = pytest.importorskip("PIL.Image")
    for profile in (bytes(16) + b"RGB " + bytes(108), bytes(16) + b"GRAY" + bytes(108), None):
        source = tiff(tmp_path / "in.tif", picture(100, 120), iccprofile=profile)
        with load(null_bundle, "null") as session:
            restore_bands(session, source, tmp_path / "out.tif", "rain")
        with image.open(tmp_path / "out.tif") as read:
            assert np.array_equal(np.asarray(read), picture(100, 120))
            assert read.info.get("icc_profile") == (profile if profile and b"RGB" in profile else None)


def test_memory_does_not_grow_with_height(null_bundle: Path, tmp_path: Path) -> None:
    with load(null_bundle, "null") as session:

        def peak(height: int) -> int:
            tiff(
                tmp_path / "in.tif", np.zeros((height, 100, 3), np.uint8), compression="zlib", rowsperstrip=16
            )
            tracemalloc.start()
            restore_bands(session, tmp_path / "in.tif", tmp_path / "out.tif", "rain")
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return most

        peak(400)  # what is imported and cached at first use
        assert peak(4000) < peak(400) + 300_000
        # of the 1,080,000 bytes that are more in the picture; its index of 225 strips takes 105,000 to 151,000


def test_a_damaged_file_leaves_no_result(null_bundle: Path, picture: Any, tmp_path: Path) -> None:
    (tmp_path / "out.tif").write_bytes(b"old")
    torn = tiff(tmp_path / "torn.tif", picture(200, 120), compression="zlib", rowsperstrip=10)
    data = bytearray(torn.read_bytes())
    with tifffile.TiffFile(torn) as file:
        begin = file.pages[0].dataoffsets[12]
    data[begin : begin + 40] = bytes(40)
    torn.write_bytes(data)
    multiplied = np.dstack([picture(200, 120), np.full((200, 120), 255, np.uint8)])
    tiff(tmp_path / "multiplied.tif", multiplied, rowsperstrip=10, extrasamples=["assocalpha"])
    with load(null_bundle, "null") as session:
        for name, message in (
            ("torn.tif", r"torn\.tif can't be read as a picture at row 120"),
            ("multiplied.tif", r"can't be read in row bands: its colours are multiplied by alpha"),
        ):
            with pytest.raises(ImageError, match=message):
                restore_bands(session, tmp_path / name, tmp_path / "out.tif", "rain")
            assert (tmp_path / "out.tif").read_bytes() == b"old"
    assert sorted(f.name for f in tmp_path.iterdir()) == ["bundle", "multiplied.tif", "out.tif", "torn.tif"]


def patched(path: Path, tag: int, index: int, value: int) -> Path:
    """The file with another number in one of its tags."""
    with tifffile.TiffFile(path) as file:
        found = file.pages[0].tags[tag]
        size = {3: 2, 4: 4}[found.dtype]
        at = found.valueoffset + index * size
    data = bytearray(path.read_bytes())
    data[at : at + size] = value.to_bytes(size, "little")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("tag", "index", "value", "message"),
    [
        (279, 12, 0, r"row 120: 0 of 3600 samples are stored"),  # StripByteCounts: a strip that is not there
        (284, 0, 7, r"3 samples a pixel in planar configuration 7"),  # it means nothing
        (277, 0, 1, r"1 samples a pixel in planar"),  # of an RGB picture
        (278, 0, 0, r"its segments have no rows"),
    ],
)
def test_tags_that_lie_are_refused(
    tag: int, index: int, value: int, message: str, null_bundle: Path, picture: Any, tmp_path: Path
) -> None:
    """Found by benchmarks.fuzz: black rows, pixels in the wrong place, or an error of tifffile's."""
    file = tiff(tmp_path / "bad.tif", picture(200, 120), compression="zlib", rowsperstrip=10)
    patched(file, tag, index, value)
    with load(null_bundle, "null") as session, pytest.raises(ImageError, match=rf"bad\.tif.*{message}"):
        restore_bands(session, file, tmp_path / "out.tif", "rain")


def test_a_file_without_pages_is_refused(null_bundle: Path, picture: Any, tmp_path: Path) -> None:
    file = tiff(tmp_path / "bad.tif", picture(200, 120))
    file.write_bytes(file.read_bytes()[:4] + bytes(4))
    with (
        load(null_bundle, "null") as session,
        pytest.raises(ImageError, match=r"bad\.tif can't be read as TIFF"),
    ):
        restore_bands(session, file, tmp_path / "out.tif", "rain")


def test_what_goes_whole_says_why(picture: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, image = tmp_path / "out.tif", picture(120, 100)
    large = tiff(tmp_path / "large.tif", image)
    turned = tiff(tmp_path / "turned.tif", image, extratags=[(274, 3, 1, 6, True)])
    single = tiff(tmp_path / "single.tif", image, compression="zlib", rowsperstrip=120)
    floats = tmp_path / "floats.tif"
    tifffile.imwrite(floats, np.zeros((120, 100), np.float32))
    tifffile.imwrite(tmp_path / "ycc.tif", image, photometric="ycbcr")  # no decoder makes RGB of it
    (tmp_path / "text.tif").write_text("no picture")
    assert why_whole(large, out, TILE) == why_whole(single, out, TILE) == ""
    monkeypatch.setattr("colora.runtime.bands.MAX_PIXELS", 10_000)
    for source, target, reason in (
        (large, tmp_path / "out.png", "only TIFF is read and written in row bands"),
        (tmp_path / "large.png", out, "only TIFF"),
        (tiff(tmp_path / "small.tif", picture(96, 90)), out, "small enough to run whole"),
        (turned, out, "it is turned: store it upright"),
        (single, out, "it is stored in strips of 120 rows: store it in tiles"),
        (tmp_path / "ycc.tif", out, "its colours are stored as YCBCR"),
        (floats, out, "it holds 32-bit float32"),
        (tmp_path / "text.tif", out, "not a TIFF"),
    ):
        assert reason in why_whole(source, target, TILE)
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    assert "pip install 'colora[tiff]'" in why_whole(large, out, TILE)


def test_the_command_takes_tiff_in_bands_and_says_what_is_decoded_whole(
    null_bundle: Path, picture: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner
    from colora.runtime.cli import main

    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("rich")
    tiff(tmp_path / "a.tif", picture(130, 110), compression="zlib", rowsperstrip=16)
    image.fromarray(picture(130, 110)).save(tmp_path / "b.png")
    monkeypatch.setattr("colora.runtime.image.read_image.__defaults__", (10_000, "TIFF alone goes in bands"))
    given = [str(tmp_path / "a.tif"), str(tmp_path / "b.png"), "-o", str(tmp_path / "out")]
    options = ["--task", "rain", "--bundle", str(null_bundle), "--backend", "null"]
    result = CliRunner().invoke(main, ["restore", *given, *options])
    assert result.exit_code == 1
    assert (
        "b.png has 110×130 pixels, more than 10000, and would be decoded whole "
        "(only TIFF is read and written in row bands): cut it first"
    ) in result.output
    assert np.array_equal(tifffile.imread(tmp_path / "out" / "a.tif"), picture(130, 110))
