"""Flow along frames that come one after the other: each is prepared once, and two are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from perceiver_runtime.common.newest import Newest
from perceiver_runtime.tasks.flow.field import FlowField
from perceiver_runtime.tasks.flow.pair import EncodedPair, PreparedFrame, Scale

if TYPE_CHECKING:
    from perceiver_runtime.tasks.flow.pipeline import FlowPipeline


class FlowStream(Iterator[FlowField]):
    """An iterator of fields, `FlowField`, float32 (H, W, 2), of `flow.stream(frames)`: one fewer than the frames it took.

    After each, `between` are the two frames it is between, as they were given. `read` counts frames that were read, `dropped`
    those that were passed over (with `latest`), `fields` what was given. A frame that cannot be used raises `InputError`;
    the next call goes on with the frame after it. `close`, or the end of a `with` block, ends the reading.
    """

    def __init__(
        self, flow: FlowPipeline, frames: Iterable[Any], *, latest: bool, scale: Scale, query_chunk: int | None
    ) -> None:
        self._newest: Newest[Any] | None = Newest(frames) if latest else None
        self._frames: Iterator[Any] = iter(frames) if self._newest is None else self._newest
        self._flow, self._scale, self._query_chunk = flow, scale, query_chunk
        self._before: tuple[Any, PreparedFrame] | None = None
        self._taken = self.fields = 0
        self.between: tuple[Any, Any] = (None, None)

    @property
    def read(self) -> int:
        """Frames read so far."""
        return self._taken if self._newest is None else self._newest.read

    @property
    def dropped(self) -> int:
        """Frames passed over so far, because newer ones were there."""
        return 0 if self._newest is None else self._newest.dropped

    @property
    def taken(self) -> int:
        """Frames that went into fields, or could not be used."""
        return self._taken

    def __next__(self) -> FlowField:
        if self._before is None:
            self._before = self._take()
        after = self._take()
        (frame1, first), (frame2, second) = self._before, after
        field = EncodedPair(self._flow, first, second, 0).field(query_chunk=self._query_chunk)
        self._before, self.between = after, (frame1, frame2)
        self.fields += 1
        return field

    def _take(self) -> tuple[Any, PreparedFrame]:
        frame = next(self._frames)
        self._taken += 1
        return frame, self._flow.prepare(frame, f"frame {self._taken - 1}", self._scale)

    def close(self) -> None:
        """Stop reading."""
        close = getattr(self._frames, "close", None)
        if close is not None:
            close()

    def __enter__(self) -> FlowStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
