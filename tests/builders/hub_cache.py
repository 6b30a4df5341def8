"""The hub's caches on disk, as a machine has them that once was online.

Models lie as huggingface_hub lays them out, data sets as `datasets` prepares them.

    home = HubHome(tmp_path / "hf")
    home.add_model("org/name", {"config.json": b"…"})
    home.add_dataset("org/pairs", {"train": rows})
    subprocess.run(command, env={**os.environ, **home.environment})

Nothing in a process that runs offline with this home reaches a network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COMMIT = "c0ffee" + "0" * 34


class HubHome:
    """A folder for `HF_HOME`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        return {"HF_HOME": str(self.folder), "HF_HUB_OFFLINE": "1"}

    def add_model(self, name: str, files: Mapping[str, bytes]) -> Path:
        """`hub/models--ORG--NAME`: a ref and the snapshot that it points to."""
        top = self.folder / "hub" / f"models--{name.replace('/', '--')}"
        (top / "refs").mkdir(parents=True)
        (top / "refs" / "main").write_text(COMMIT)
        snapshot = top / "snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        for file, content in files.items():
            (snapshot / file).write_bytes(content)
        return snapshot

    def add_dataset(self, name: str, splits: Mapping[str, Sequence[dict[str, Any]]]) -> None:
        """`datasets/ORG___NAME/default/0.0.0/COMMIT`: an Arrow stream for each split, and what describes them."""
        import pyarrow as pa
        from datasets import Dataset
        from datasets.naming import camelcase_to_snakecase

        first, _, last = name.rpartition("/")
        own = camelcase_to_snakecase(last)
        folder = self.folder / "datasets" / f"{first}___{own}" / "default" / "0.0.0" / COMMIT
        folder.mkdir(parents=True)
        described, info = {}, None
        for split, rows in splits.items():
            made = Dataset.from_list(list(rows))
            info = made.info
            with pa.OSFile(str(folder / f"{own}-{split}.arrow"), "wb") as sink:
                table = made.data.table
                with pa.ipc.new_stream(sink, table.schema) as writer:
                    writer.write_table(table)
            described[split] = {"name": split, "num_bytes": 1, "num_examples": len(rows), "dataset_name": own}
        assert info is not None
        about = {
            "features": info.features.to_dict(),
            "builder_name": "parquet",
            "dataset_name": own,
            "config_name": "default",
            "version": {"version_str": "0.0.0", "major": 0, "minor": 0, "patch": 0},
            "splits": described,
        }
        (folder / "dataset_info.json").write_text(json.dumps(about))
