"""Bad pixels of a scan: the mask in its file, and one in a file of its own."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from ptycho.data_error import DataError, problem
from ptycho.formats.frames import Images, Mask, Window, blocks_of
from ptycho.formats.sources import Sources, listed, reading
from ptycho.formats.trees import Stored, Tree, open_tree
from ptycho.regular_files import open_regular, size_of
from ptycho.stored_array import Array
from ptycho.verdict import Verdict

OF_OWN: Final = ("npz", "ptychodus")
"""Formats whose masks are made for their patterns: one of another shape is a fault, and no other detector's."""


MOST_AXES: Final = 4
"""Of a mask, for each image of a raster."""


def masks(
    sources: Sources, images: Images, window: Window, flagged: Mask | None = None
) -> tuple[Mask | None, Array | None]:
    """What is bad of the detector, (H, W), and the bad pixels of the patterns, (N, N) or (n, N, N); None: nothing.

    Args:
        sources: the files.
        images: the patterns.
        window: which of their pixels are used.
        flagged: (H, W), further pixels that hold no measurement; None: none.

    Raises:
        DataError: a mask is something else, or of another size.
    """
    whole, single = _stated(sources, images)
    if flagged is not None:
        whole = flagged if whole is None else whole | flagged
    of_each = None if single is None else _of_each(single, window)
    common = _within(whole, window)
    if of_each is None or common is None:
        bad = common if of_each is None else of_each
    else:
        bad = of_each | common
    return whole, bad


def bad_of(sources: Sources, images: Images, which: npt.NDArray[np.int64]) -> Mask | None:
    """What is bad of some whole images, (H, W) or (k, H, W); None: nothing.

    Raises:
        DataError: as `masks`.
    """
    whole, single = _stated(sources, images)
    if single is None:
        return whole
    box = (slice(0, images.shape[0]), slice(0, images.shape[1]))
    found = np.concatenate([block for _, block in blocks_of(single.path, single.images, box, which)])
    bad = single.marks.bad(found)
    return bad if whole is None else bad | whole


class _Marks(NamedTuple):
    """What the values of a mask mean."""

    good: bool
    """Whether those that are not zero mark good pixels."""
    harmless_bits: int
    """Bits that mark neither."""

    def bad(self, values: Array) -> Mask:
        """Which of the values mark bad pixels."""
        if self.harmless_bits and values.dtype.kind in "iu":
            values = values & ~np.array(self.harmless_bits).astype(values.dtype)
        return (values == 0) == self.good


class _Single(NamedTuple):
    """Masks of single images."""

    path: Path
    images: Images
    marks: _Marks


def _stated(sources: Sources, images: Images) -> tuple[Mask | None, _Single | None]:
    """What the file and the settings call bad: of the whole detector (H, W), and of each image.

    Raises:
        DataError: as `masks`.
    """
    whole = _from_file(sources, images)
    beside_own = sources.settings.mask_file is not None and not _named(sources)
    written = None if beside_own else sources.settings.mask_marks  # then they are told of the file of its own
    marks = _Marks((written or sources.layout.mask_marks) == "good", sources.layout.harmless_bits)
    tree, stored = _in_file(sources, images)[0] or (None, None)
    if tree is None or stored is None:
        return whole, None
    name = sources.called(tree, stored.name)
    if stored.shape == images.stored.shape:
        return whole, _Single(tree.path, Images(stored, images.axes, images.rows), marks)
    with reading(name, tree.path):
        values = marks.bad(stored.read(slice(None)).reshape(images.shape))
    _refuse_all_bad(sources, name, values, marks, tree.path)
    return values if whole is None else whole | values, None


def _refuse_all_bad(sources: Sources, name: str, bad: Mask, marks: _Marks, path: Path) -> None:
    """Refuse a mask of the whole detector that leaves no pixel.

    Raises:
        DataError: it does.
    """
    if bad.all():
        advice = f"Set --mask-marks {'bad' if marks.good else 'good'}, or invert the mask."
        sources.refuse(name, "some measured pixels", "none", advice, path)


def _named(sources: Sources) -> str | None:
    """The mask that a setting names; None: none is."""
    return None if sources.settings.mask == "auto" else sources.settings.mask


def _in_file(sources: Sources, images: Images) -> tuple[tuple[Tree, Stored] | None, list[str]]:
    """The mask that is named, or the first that is found and fits; and what was found and does not fit.

    Raises:
        DataError: the one that is named does not fit, or is none.
    """
    named, layout, others = _named(sources), sources.layout, list[str]()
    folder = images.stored.name.rpartition("/")[0]
    beside = (f"{folder}/{name}" for name in layout.mask_beside)
    likely = dict.fromkeys(place.lstrip("/") for place in (*beside, *layout.mask))
    for place in (named,) if named else likely:
        try:
            found = sources.stored("mask", (place,), "biuf", "a mask, numbers or True and False")
        except DataError:
            if named or sources.format != "hdf5":
                raise
            others.append(f"{place} is no mask that can be read")
            continue
        if found is None:
            continue
        tree, stored = found
        if len(stored.parts) > 1 and stored.parts[0].shape == images.shape:
            stored = stored._replace(parts=stored.parts[:1])  # of each chunk the same
        if stored.shape in (images.shape, (1, *images.shape), images.stored.shape):
            return (tree, stored), others
        name = sources.called(tree, stored.name)
        if named or sources.format in OF_OWN or (len(stored.shape) > MOST_AXES and sources.format != "hdf5"):
            expected = f"a mask of {images.shape[0]} x {images.shape[1]} pixels, or one for each pattern"
            sources.refuse(name, expected, f"shape {stored.shape}", "Name another one: --mask.", tree.path)
        others.append(f"{name} has shape {stored.shape}")
    return None, others


def of_masks(sources: Sources, images: Images) -> Iterator[Verdict]:
    """Which mask of the file is used though no setting names it, and which are not.

    Raises:
        DataError: as `masks`.
    """
    if _named(sources) or sources.format in OF_OWN:
        return
    found, others = _in_file(sources, images)
    if found is not None:
        name = sources.called(found[0], found[1].name)
        text = f"bad pixels are those that the mask {name} of the file marks"
        yield Verdict("mask_found", "note", None, "", text, "Set mask to use another one, or to none.")
    elif others and sources.settings.mask_file is None:
        size = f"{images.shape[0]} x {images.shape[1]} pixels"
        text = f"{' and '.join(others)}, and the patterns have {size}: no mask of the file is used"
        yield Verdict("mask_found", "warning", None, "", text, "Name one that fits (mask, mask_file).")


def _within(whole: Mask | None, window: Window) -> Mask | None:
    """Bad pixels of the patterns, (N, N): those of the detector, and what lies outside of it."""
    known = np.zeros(window.shape, bool) if whole is None else whole
    bad = window.any_of(window.cut(known[window.box], True))
    return bad if whole is not None or bad.any() else None


def _of_each(single: _Single, window: Window) -> Array:
    """Bad pixels of every pattern (n, N, N), or (N, N) where they are the same in all."""
    n = window.n_pixels
    found = np.empty((len(single.images), n, n), bool)
    for start, block in blocks_of(single.path, single.images, window.box):
        bad = single.marks.bad(block)
        found[start : start + len(block)] = window.any_of(window.cut(bad, True))
    is_common = all((one == found[0]).all() for one in found)
    return cast(Array, found[0].copy() if is_common else found)


def _from_file(sources: Sources, images: Images) -> Mask | None:
    """The mask in a file of its own, (H, W).

    Raises:
        DataError: there is none in it, or it is of another size.
    """
    path = sources.settings.mask_file
    if path is None:
        return None
    path = Path(path)
    if not path.exists():
        sources.refuse("mask_file", "a mask", "no such file", "Check the path.", path)
    if path.suffix == ".npy":
        try:
            with open_regular(path) as file:
                content = io.BytesIO(file.read(size_of(file)))
            values = np.lib.format.read_array(content, allow_pickle=False)
        except (OSError, ValueError) as error:
            advice = "Write it with numpy.save."
            raise DataError(problem("mask_file", "a readable mask", f"'{error}'", path, advice)) from error
    else:
        with open_tree(path) as tree:
            likely = [entry for entry in tree.entries() if entry.shape == images.shape]
            if len(likely) != 1:
                expected = f"one image of {images.shape[0]} x {images.shape[1]} pixels"
                got = f"{len(likely)} ({listed(tree.entries())})"
                advice = "Write the mask into a file of its own."
                raise DataError(problem("mask_file", expected, got, path, advice))
            with reading(likely[0].name, path):
                values = tree.stored(likely[0].name).read(slice(None))
    if values.shape != images.shape or values.dtype.kind not in "biuf":
        expected = f"a mask of {images.shape[0]} x {images.shape[1]} pixels, bool or numbers"
        got = f"dtype {values.dtype}, shape {values.shape}"
        sources.refuse("mask_file", expected, got, "Name another file.", path)
    marks = _Marks(sources.settings.mask_marks == "good", harmless_bits=0)
    bad = marks.bad(values)
    _refuse_all_bad(sources, "mask_file", bad, marks, path)
    return bad
