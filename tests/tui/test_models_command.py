"""`icemaze models` and what `icemaze doctor` says about language models."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import environment, icemaze, objects

pytestmark = pytest.mark.slow

PROBE = """
import sys
from tui.cli.main import run
code = run(sys.argv[1:])
print("imported:", *sorted({name.partition(".")[0] for name in sys.modules}))
sys.exit(code)
"""
WITHOUT_EXTRA = """
import sys
from tui.cli import models
models.EXTRA = (*models.EXTRA, "no_such_package")
from tui.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


def python(
    tmp_path: Path, program: str, *arguments: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """A program around the command; its result, and the names on its last line."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**environment(tmp_path), "ICEMAZE_CACHE_DIR": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done, (done.stdout.splitlines() or [""])[-1].split()


@pytest.fixture
def local_model(tmp_path: Path) -> Path:
    """What `get` looks at in a folder: names, the config and a header, never the weights."""
    folder = tmp_path / "my-model"
    folder.mkdir()
    config = {
        "model_type": "llama",
        "vocab_size": 300,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    (folder / "config.json").write_text(json.dumps(config))
    tensor = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({"layer.0": tensor, "layer.1": tensor}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (folder / "tokenizer.json").write_text("")
    return folder


def test_the_list_says_what_each_model_costs(tmp_path: Path) -> None:
    done = icemaze(tmp_path, "models", "list", "--json", ICEMAZE_CACHE_DIR=str(tmp_path))
    models = {item["name"]: item for item in objects(done.stdout)}
    assert done.returncode == 0
    assert {"smollm2-135m", "qwen3-0.6b", "qwen3-4b", "gemma3-270m"} <= set(models)
    default = models["smollm2-135m"]
    assert default["parameters"] == 134_515_008
    assert (default["here"], default["path"]) == (False, None)
    weights = {way: cost["weights"] for way, cost in default["memory"].items()}
    assert weights["nf4"] < weights["int8"] < weights["none"]
    for model in models.values():
        assert isinstance(model["can_train"], bool) and model["verdict"]
        assert all(cost["weights"] < cost["total"] for cost in model["memory"].values())


def test_the_table_is_for_people_and_the_same(tmp_path: Path) -> None:
    table, again = (icemaze(tmp_path, *words).stdout for words in (["models"], ["models", "list"]))
    free = r"[\d.]+ GB (are )?free"  # other processes come and go
    assert re.sub(free, "", table) == re.sub(free, "", again) != table
    first, *rows = table.splitlines()
    assert first.split()[:6] == ["name", "weights", "4-bit", "nf4", "int8", "none"]
    (row,) = [row for row in rows if row.startswith("smollm2-135m ")]
    assert "135 M" in row and " 79% " in row and "GB" in row
    assert "icemaze models get NAME" in table


@pytest.mark.parametrize("arguments", [["models"], ["models", "get"]])
def test_the_interface_never_imports_torch(
    tmp_path: Path, local_model: Path, arguments: list[str]
) -> None:
    if arguments[-1] == "get":
        arguments = [*arguments, str(local_model)]
    done, (_, *imported) = python(tmp_path, PROBE, *arguments)
    assert done.returncode == 0
    assert set(imported).isdisjoint({"torch", "transformers", "peft", "bitsandbytes", "textual"})


def test_get_says_where_a_model_is_and_what_it_costs(tmp_path: Path, local_model: Path) -> None:
    said = icemaze(tmp_path, "models", "get", str(local_model))
    assert said.returncode == 0, said.stderr
    assert str(local_model) in said.stdout and "Can this machine train it? Yes" in said.stdout
    (item,) = objects(icemaze(tmp_path, "models", "get", str(local_model), "--json").stdout)
    assert (item["event"], item["path"], item["can_train"]) == ("finished", str(local_model), True)
    assert set(item["memory"]) == {"nf4", "int8", "none"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("smollm2-135", "Did you mean 'smollm2-135m'?"),
        ("./nowhere", "there is no such folder"),
        ("somebody/something", "could not be downloaded"),
    ],
)
def test_what_cannot_be_got_is_one_sentence(tmp_path: Path, name: str, said: str) -> None:
    done = icemaze(tmp_path, "models", "get", name, HF_HUB_OFFLINE="1")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    done = icemaze(tmp_path, "models", "get", name, "--json", HF_HUB_OFFLINE="1")
    assert done.returncode == 2 and said in objects(done.stdout)[-1]["message"]


@pytest.mark.parametrize("arguments", [["models"], ["models", "list"], ["models", "get", "x"]])
def test_without_the_extra_the_line_that_installs_it(tmp_path: Path, arguments: list[str]) -> None:
    done, _ = python(tmp_path, WITHOUT_EXTRA, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "no_such_package" in done.stderr and "pip install '.[llm]'" in done.stderr


def test_doctor_tells_what_language_models_can_use(tmp_path: Path) -> None:
    done = icemaze(tmp_path, "doctor", "--json", ICEMAZE_CACHE_DIR=str(tmp_path))
    found = {item["check"]: item for item in objects(done.stdout)}
    assert done.returncode == 0
    for package in ("torch", "transformers", "peft", "bitsandbytes"):
        assert package in found["Language models"]["text"]
    assert found["LLM device"]["text"].startswith(("CPU", "GPU"))
    assert "nf4" in found["Quantization"]["text"]
    assert "icemaze models get smollm2-135m" in found["Models"]["remedy"]
    assert "free on the" in found["LLM memory"]["text"]


def test_doctor_without_the_extra_still_trains_tables(tmp_path: Path) -> None:
    done, _ = python(tmp_path, WITHOUT_EXTRA, "doctor")
    assert done.returncode == 0
    assert "no_such_package not installed" in done.stdout
    assert "This machine can train tables.\n" in done.stdout
