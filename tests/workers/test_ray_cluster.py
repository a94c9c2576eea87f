"""A search on a real Ray cluster of two nodes, one of which is lost in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import autotransfer
from autotransfer.errors import ConfigError
from autotransfer.settings import Compute

# In a process of its own: Ray leaves threads and sockets behind.
SCRIPT = """
import json, sys, threading, time
from pathlib import Path
from ray.cluster_utils import Cluster
import autotransfer
from autotransfer import Compute, SearchOptions

data, zoo, out = sys.argv[1:]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = cluster.add_node(num_cpus=1)
file, lost = Path(out) / "trials.csv", []

def lose():
    while not file.exists() or len(file.read_text().splitlines()) < 9:
        time.sleep(0.05)
    cluster.remove_node(second, allow_graceful=False)
    lost.append(len(file.read_text().splitlines()) - 1)

threading.Thread(target=lose, daemon=True).start()
result = autotransfer.fit(
    data, zoo=zoo, out=out, trials=40, search=SearchOptions(epochs=2, compare_scratch=False),
    compute=Compute(executor="ray", ray_address=cluster.address, cache_dir=out + "-cache"),
)
numbers = [record.number for record in result.trials]
candidates = len({record.candidate for record in result.trials})
print(json.dumps({"lost": lost, "numbers": numbers, "candidates": candidates, "counts": result.trials.counts(),
                  "curves": sum(bool(record.curve) for record in result.trials), "score": result.validation.score}))
cluster.shutdown()
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_lost_node_costs_nothing_that_was_finished(digit_folder: Path, tiny_zoo: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'autotransfer[ray]'")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(digit_folder / "train"), str(tiny_zoo), str(tmp_path / "run")],
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["lost"], "a node was lost"
    assert found["lost"][0] < 40, "in the middle of the search"
    assert found["numbers"] == list(range(40))
    assert found["candidates"] == 40, "none is tried twice"
    assert found["counts"]["failed"] == 0, "what the node was doing was done again on the other"
    assert found["curves"] > 0, "tasks report their epochs"
    assert found["score"] > 0.9


def test_without_ray_the_error_names_the_extra(digit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"needs Ray: pip install 'autotransfer\[ray\]'"):
        autotransfer.fit(digit_folder / "train", compute=Compute(executor="ray"))


def test_a_cluster_that_does_not_answer_is_named(digit_folder: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'autotransfer[ray]'")
    with pytest.raises(ConfigError, match="The Ray cluster 'localhost:9' cannot be reached: ConnectionRefusedError"):
        autotransfer.fit(digit_folder / "train", compute=Compute(executor="ray", ray_address="localhost:9"))
