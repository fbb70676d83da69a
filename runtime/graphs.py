"""Opens graphs of a bundle, with weights of a mixture. Holds nothing that changes: any thread may call it."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from colora.devices.errors import BundleError
from colora.runtime.adapter import Adapter
from colora.runtime.backend import Backend
from colora.runtime.bundle import GRAPH, Bundle, verify_file
from colora.runtime.hot import Built, key_of
from colora.runtime.manifest import ImageConvention
from colora.runtime.merge import GraphTensors
from colora.runtime.mixture import Mixture, Part
from colora.runtime.proof import check_golden
from colora.runtime.stamp import stamp
from colora.runtime.use import Recipe
from colora.runtime.weights import Array

Open = Callable[[Path, ImageConvention, Mapping[str, Array], bool], Backend]
"""`Backend.open` with the number of threads filled in."""


class GraphMaker:
    """Makes graphs of one bundle. tolerance: largest difference from a golden output that passes."""

    def __init__(self, bundle: Bundle, open_graph: Open, tolerance: float) -> None:
        self.bundle, self._open_graph, self._tolerance = bundle, open_graph, tolerance
        self._stamps = dict(bundle.stamps)

    def refit(self) -> Backend:
        """The backbone, to be edited in place. Raises: BackendError, also where that does not work; MissingExtra."""
        return self._open((), tuple(self.bundle.manifest.program), refit=True)

    def merged(self, mixture: Mixture) -> Backend:
        """Fully optimised over the weights of a mixture. Raises: BackendError, BundleError, MissingExtra."""
        return self._open(mixture, self.touched(mixture), refit=False)

    def build(self, wanted: Recipe, held: Mapping[str, Adapter], proven: frozenset[str]) -> Built:
        """A merged graph whose adapters have passed their golden checks.

        held: adapters by task; others are read. proven: content hashes of those that have passed before.
        Raises: ColoraError.
        """
        mixture = tuple(Part(held.get(task) or self.bundle.read_task(task), value) for task, value in wanted)
        alone = [(Part(part.adapter, 1.0),) for part in mixture]
        for single in alone:
            if single[0].adapter.content_sha256 not in proven and key_of(single) != key_of(mixture):
                self._proven(single).close()
        return mixture, self._proven(mixture)

    def check(self, graph: Backend, what: str, expected: Array) -> None:
        """Compare with a golden output. Raises: ParityError."""
        check_golden(graph, f"{self.bundle.path}: {what}", expected, self._tolerance)

    def touched(self, *mixtures: Mixture) -> tuple[str, ...]:
        """Graph tensors that any of the mixtures changes."""
        return self._tensors.touched(*mixtures) if any(mixtures) else ()

    def edit(self, graph: Backend, mixture: Mixture, names: tuple[str, ...]) -> None:
        """Give those tensors of an open graph the values they have under a mixture.

        Raises: BundleError; BackendError; some may be changed by then.
        """
        if not names:
            return
        if buffers := graph.lend():
            self._tensors.write(mixture, buffers, names)
        else:
            graph.set_weights(self._tensors.under(mixture, names))

    @cached_property
    def _tensors(self) -> GraphTensors:
        return GraphTensors(self.bundle)

    def _open(self, mixture: Mixture, names: tuple[str, ...], refit: bool) -> Backend:
        weights = {}
        self.check_files(*self._stamps)
        if names:
            try:
                weights = dict(self._tensors.under(mixture, names))
            except BundleError as e:
                raise BundleError(f"{self.bundle.path}: {e}: export it again") from e
        try:
            graph = self._open_graph(self.bundle.path / GRAPH, self.bundle.manifest.image, weights, refit)
            try:
                self.check_files(*self._stamps)  # that it was made from
            except BundleError:
                graph.close()
                raise
            return graph
        finally:
            if names:
                self._tensors.release()  # some of `weights` lie in the file, and were read just now

    def check_files(self, *names: str) -> None:
        """Raises: BundleError if one is another by now; the same one copied anew is none."""
        for name in names:
            if (seen := stamp(self.bundle.path / name)) == self._stamps[name]:
                continue
            try:
                verify_file(self.bundle.path / name, self.bundle.manifest.files[name])
            except BundleError as e:
                raise BundleError(
                    f"{self.bundle.path} was replaced while it was in use: load it again"
                ) from e
            self._stamps[name] = seen

    def _proven(self, mixture: Mixture) -> Backend:
        """Golden outputs are those of the backbone and of one task alone at strength 1; other mixtures have none."""
        graph = self.merged(mixture)
        try:
            if not mixture:
                self.check(graph, "the backbone", self.bundle.golden_output)
            if len(mixture) == 1 and mixture[0].strength == 1.0:
                adapter = mixture[0].adapter
                self.check(graph, f"task {adapter.task}", adapter.golden_output)
        except BaseException:
            graph.close()
            raise
        return graph
