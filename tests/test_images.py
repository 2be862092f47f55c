"""Picture files of every kind, compared with Pillow's own decoding."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from yoloseg.data.images import check_picture, check_pictures, picture_size, read_header, read_image
from yoloseg.data.records import Record
from yoloseg.errors import DataError


def smooth(height=30, width=50, channels=3, seed=0):
    """A smooth picture, which survives JPEG: uint8 [height, width, channels]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, channels), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def save(path: Path, pixels, mode=None, **options) -> Path:
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def test_png_is_read_exactly_as_rgb(tmp_path):
    pixels = smooth()
    image = read_image(save(tmp_path / "a.png", pixels))
    assert image.dtype == np.uint8 and image.flags.c_contiguous
    np.testing.assert_array_equal(image, pixels)


def test_jpeg_agrees_with_pillow(tmp_path):
    path = save(tmp_path / "a.jpg", smooth(), quality=95)
    expected = np.asarray(Image.open(path)).astype(int)
    assert np.abs(read_image(path).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "gif", "webp"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_modes_agree_with_pillow(tmp_path, mode, suffix):
    if suffix == "bmp" and mode == "LA":
        pytest.skip("BMP has no grey with transparency")
    pixels = smooth(channels=4)
    picture = Image.fromarray(pixels if mode == "RGBA" else pixels[..., :3]).convert(mode)
    path = tmp_path / f"a.{suffix}"
    picture.save(path, **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(read_image(path), np.asarray(Image.open(path).convert("RGB")))
    check_picture(path)


def test_grey_is_repeated_and_transparency_dropped(tmp_path):
    rgba = smooth(channels=4)
    rgba[..., 3] = 0  # wholly transparent
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", rgba)), rgba[..., :3])
    grey = smooth()[..., 0]
    np.testing.assert_array_equal(read_image(save(tmp_path / "g.png", grey)), np.stack([grey] * 3, axis=2))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_keep_the_high_byte(tmp_path, suffix):
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30), dtype=np.uint16)
    path = save(tmp_path / f"a.{suffix}", deep)
    np.testing.assert_array_equal(read_image(path), np.stack([deep >> 8] * 3, axis=2))
    colours = np.random.default_rng(1).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    path = tmp_path / f"rgb.{suffix}"
    assert cv2.imwrite(str(path), colours[..., ::-1])
    np.testing.assert_array_equal(read_image(path), colours >> 8)


def test_cmyk_jpeg(tmp_path):
    pixels = smooth()
    path = save(tmp_path / "a.jpg", pixels, mode="CMYK", quality=98, subsampling=0)
    assert Image.open(path).mode == "CMYK"
    assert np.abs(read_image(path).astype(int) - pixels).mean() < 3


def test_32_bits_are_refused(tmp_path):
    path = save(tmp_path / "a.tif", np.ones((4, 5), np.float32))
    with pytest.raises(DataError, match="a.tif.*32 bits.*8 or 16"):
        read_image(path)
    with pytest.raises(DataError, match="32 bits"):
        check_picture(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation, suffix):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(smooth(30, 50)).save(path, exif=exif, quality=95)
    stored = Image.open(path).convert("RGB")
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).astype(int)
    displayed = (50, 30) if orientation >= 5 else (30, 50)
    assert picture_size(path) == displayed == expected.shape[:2]
    assert np.abs(read_image(path).astype(int) - expected).max() <= 2
    assert np.abs(read_image(path, displayed).astype(int) - expected).max() <= 2
    # the stored size is given: the pixels as stored, unless the displayed picture has that size too
    as_stored = np.asarray(stored).astype(int) if orientation >= 5 else expected
    assert np.abs(read_image(path, (30, 50)).astype(int) - as_stored).max() <= 2
    assert np.abs(Record(1, path, 30, 50).read_image().astype(int) - as_stored).max() <= 2


def test_tiff_orientation(tmp_path):
    pixels = smooth(30, 50)
    path = tmp_path / "a.tif"
    Image.fromarray(pixels).save(path, tiffinfo={0x0112: 6})
    assert picture_size(path) == (50, 30)
    np.testing.assert_array_equal(read_image(path), np.rot90(pixels, -1))


@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*\0\0", b"Exif\0\0garbage", b"Exif\0\0"])
def test_broken_exif_is_ignored(tmp_path, exif):
    path = tmp_path / "a.jpg"
    Image.fromarray(smooth(30, 50)).save(path, exif=exif)
    assert picture_size(path) == (30, 50)
    assert read_image(path).shape == (30, 50, 3)


def test_wrong_size_names_the_file_and_both_sizes(tmp_path):
    path = save(tmp_path / "a.png", smooth(30, 50))
    with pytest.raises(DataError, match=r"a\.png.*50 x 30.*100 x 60"):
        read_image(path, (60, 100))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif", "gif"])
@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_truncated(tmp_path, suffix, keep):
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    path = save(tmp_path / f"a.{suffix}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match=r"a\."):
        check_picture(path)
    with pytest.raises(DataError, match=r"a\."):
        read_image(path)


def test_truncated_after_a_header_with_a_whole_thumbnail(tmp_path):
    thumbnail = io.BytesIO()
    Image.fromarray(smooth()).save(thumbnail, "JPEG")
    content = b"Exif\0\0" + thumbnail.getvalue()  # holds an end mark
    path = tmp_path / "a.jpg"
    Image.fromarray(smooth(100, 100)).save(path, exif=content)
    whole = path.read_bytes()
    check_picture(path)
    for length in range(whole.index(b"\xff\xda"), len(whole) - 60, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="a.jpg"):
            check_picture(path)


def test_bytes_after_the_end_do_no_harm(tmp_path):
    for suffix in ("jpg", "png"):
        path = save(tmp_path / f"a.{suffix}", smooth())
        expected = read_image(path)
        path.write_bytes(path.read_bytes() + b"\0" * 500)
        assert check_picture(path).stored == (30, 50)
        assert np.abs(read_image(path).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"<html></html>"])
def test_not_a_picture(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for function in (read_image, picture_size, check_picture, read_header):
        with pytest.raises(DataError, match="a.jpg"):
            function(path)


def test_missing_folder_and_odd_names(tmp_path):
    with pytest.raises(DataError, match="no such picture"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(DataError, match=str(tmp_path.name)):
        picture_size(tmp_path)
    with pytest.raises(DataError):
        picture_size("a\0.jpg")
    path = save(tmp_path / "größe 写真.png", smooth())
    assert read_image(path).shape == (30, 50, 3)


def test_many_pictures_keep_their_order(tmp_path):
    paths = [save(tmp_path / f"{i}.png", smooth(10, 10 + i)) for i in range(40)]
    results = check_pictures([*paths, tmp_path / "none.png", *paths * 10])
    assert [r.displayed for r in results[:40]] == [(10, 10 + i) for i in range(40)]
    assert isinstance(results[40], DataError) and len(results) == 441
