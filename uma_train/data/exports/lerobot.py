"""LeRobot's data set format 3.0: many episodes in a parquet file and in a video, one row group per episode."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from uma.types import RATE_HZ
from uma_train.data.episode import Episode
from uma_train.data.exports.columns import VALID, Layout, columns_of, images_of
from uma_train.data.exports.statistics import Statistics
from uma_train.data.optional import needed

FPS = round(RATE_HZ)
IMAGE = "observation.images.camera"
PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA, VIDEO, EPISODES = f"data/{PLACE}.parquet", f"videos/{{video_key}}/{PLACE}.mp4", f"meta/episodes/{PLACE}.parquet"
CHUNK = 1000
"""Files in one folder."""
DEFAULTS = {"timestamp": "float32", **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")}
CODEC, PIXELS = "libx264", "yuv420p"


class Writer:
    """Writes a data set, episode by episode; `close` writes what describes all of them.

    Args:
        root: its folder.
        layout: of all episodes.
        per_file: episodes in one file.
    """

    def __init__(self, root: Path, layout: Layout, per_file: int) -> None:
        self.root, self.layout, self.frames = root, layout, 0
        self._per_file = per_file
        self._rows: list[dict[str, Any]] = []
        self._tasks: dict[str, int] = {}
        self._total = Statistics()
        self._data: Any = None
        self._video: Any = None
        self._in_video = 0
        root.mkdir(parents=True)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._close_files()
        if kind is None:
            self._describe()

    def add(self, name: str, episode: Episode) -> None:
        """Append an episode; ``name`` goes into ``meta/uma_episodes.jsonl`` with its metadata."""
        index, S = len(self._rows), len(episode.pose)
        file, own = divmod(index, self._per_file)
        at = {"chunk_index": file // CHUNK, "file_index": file % CHUNK}
        if own == 0:
            self._close_files()
        task = self._tasks.setdefault(episode.meta["text"], len(self._tasks))
        columns = columns_of(episode, self.layout)
        counters = {
            "timestamp": (np.arange(S) / RATE_HZ).astype(np.float32),
            "frame_index": np.arange(S),
            "episode_index": np.full(S, index),
            "index": np.arange(self.frames, self.frames + S),
            "task_index": np.full(S, task),
        }
        self._write_rows(self._file(DATA, at), {**columns, **counters})
        row = {
            "episode_index": index,
            "tasks": [episode.meta["text"]],
            "length": S,
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + S,
            **{f"data/{part}": value for part, value in at.items()},
        }
        numbers = Statistics()
        for key, values in {**columns, **counters}.items():
            numbers.add(key, values)
        if self.layout.image:
            begin = self._in_video / FPS
            self._write_frames(self._file(VIDEO, {"video_key": IMAGE, **at}), episode)
            ends = {"from_timestamp": begin, "to_timestamp": self._in_video / FPS}
            row |= {f"videos/{IMAGE}/{part}": value for part, value in {**at, **ends}.items()}
            numbers.add_images(IMAGE, episode.images)
        self._total.merge(numbers)
        row |= {f"stats/{key}/{kind}": v for key, kinds in numbers.result().items() for kind, v in kinds.items()}
        self._rows.append(row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
        self.frames += S
        self._file("meta/uma_episodes.jsonl", {})
        with open(self.root / "meta" / "uma_episodes.jsonl", "a") as log:
            log.write(json.dumps({"episode_index": index, "file": name, **episode.meta}) + "\n")

    def _file(self, pattern: str, numbers: dict[str, Any]) -> Path:
        path = self.root / pattern.format(**numbers)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _write_rows(self, path: Path, columns: dict[str, np.ndarray]) -> None:
        pyarrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")

        def array(values: np.ndarray) -> Any:
            flat = pyarrow.array(np.ascontiguousarray(values).reshape(-1))
            return flat if values.ndim == 1 else pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1])

        table = pyarrow.table({name: array(values) for name, values in columns.items()})
        if self._data is None:
            self._data = parquet.ParquetWriter(path, table.schema)
        self._data.write_table(table)

    def _write_frames(self, path: Path, episode: Episode) -> None:
        av = needed("av")
        if self._video is None:
            self._video = av.open(str(path), "w")
            stream = self._video.add_stream(CODEC, rate=FPS, options={"crf": "18", "g": "2"})
            stream.height, stream.width = self.layout.image
            stream.pix_fmt, stream.thread_count = PIXELS, 1
        stream = self._video.streams.video[0]
        for i in images_of(episode):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(episode.images[i]), format="rgb24")
            frame.pts = self._in_video
            self._video.mux(stream.encode(frame))
            self._in_video += 1

    def _close_files(self) -> None:
        if self._data is not None:
            self._data.close()
        if self._video is not None:
            self._video.mux(self._video.streams.video[0].encode())
            self._video.close()
        self._data = self._video = None
        self._in_video = 0

    def _describe(self) -> None:
        pyarrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")
        (self.root / "meta" / "stats.json").write_text(json.dumps(self._total.result(), indent=4))
        (self.root / "meta" / "info.json").write_text(json.dumps(self._info(), indent=4))
        parquet.write_table(_tasks_table(list(self._tasks)), self.root / "meta" / "tasks.parquet")
        names = list(self._rows[0])
        table = pyarrow.table({name: [row[name] for row in self._rows] for name in names})
        parquet.write_table(table, self._file(EPISODES, {"chunk_index": 0, "file_index": 0}))

    def _info(self) -> dict[str, Any]:
        features: dict[str, Any] = {
            key: {"dtype": "bool" if key == VALID else "float32", "shape": [len(names)], "names": names}
            for key, names in self.layout.names().items()
        }
        if self.layout.image:
            height, width = self.layout.image
            video = {"height": height, "width": width, "channels": 3, "fps": FPS, "codec": "h264", "pix_fmt": PIXELS}
            video |= {"is_depth_map": False}
            features[IMAGE] = {
                "dtype": "video",
                "shape": [height, width, 3],
                "names": ["height", "width", "channels"],
                "info": {
                    **{f"video.{k}": v for k, v in video.items()},
                    "video.is_depth_map": False,
                    "has_audio": False,
                },
            }
        features |= {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in DEFAULTS.items()}
        return {
            "codebase_version": "v3.0",
            "robot_type": "franka",
            "total_episodes": len(self._rows),
            "total_frames": self.frames,
            "total_tasks": len(self._tasks),
            "chunks_size": CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": FPS,
            "splits": {"train": f"0:{len(self._rows)}"},
            "data_path": DATA,
            "video_path": VIDEO if self.layout.image else None,
            "features": features,
        }


def _tasks_table(tasks: list[str]) -> Any:
    """Return the tasks as pandas writes a frame whose index is the task."""
    pyarrow = needed("pyarrow")
    kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": of, "metadata": None}
        for name, (kind, of) in kinds.items()
    ]
    about = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.2.0"}
    table = pyarrow.table({"task_index": np.arange(len(tasks)), "task": pyarrow.array(tasks, pyarrow.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(about)})
