"""The part of `icemaze doctor` about language models: packages, device, quantization, models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.core.errors import INSTALL_LLM
from tui.cli.doctor.finding import Finding, probe, version, writable
from tui.cli.models import missing_packages

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")

PROBE = """
import json
from engine.llm.models import device
choice = device.choose("auto")
answer = {"reason": choice.reason, "device": choice.device.type, "works": {}}
for name in ("nf4", "int8"):
    try:
        from engine.llm.models import quantized
        quantized.check(name, choice.device, choice.dtype)
        answer["works"][name] = ""
    except Exception as error:
        answer["works"][name] = (str(error).splitlines() or [type(error).__name__])[0]
print(json.dumps(answer))
"""
"""Multiplies with a small quantized layer and goes back through it, where training would do it."""


def findings() -> Iterator[Finding]:
    """All that decides whether language models can be trained here, as answers."""
    if missing := missing_packages():
        text = f"no: {', '.join(missing)} not installed"
        yield Finding("Language models", "ok", text, f"To get them: {INSTALL_LLM}")
        return
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    found = probe(PROBE)
    if "error" in found:
        text = f"{versions}: cannot be used: {found['error']}"
        yield Finding("Language models", "warning", text, f"Reinstall them: {INSTALL_LLM}")
        return
    yield Finding("Language models", "ok", f"can be trained: {versions}")
    yield Finding("LLM device", "ok", found["reason"])
    yield _quantization(found["works"])
    yield _models_folder()
    yield _fitting()


def _quantization(works: dict[str, Any]) -> Finding:
    """Which quantizations bitsandbytes can train with."""
    failing = {name: why for name, why in works.items() if why}
    if not failing:
        return Finding("Quantization", "ok", "nf4 and int8 work, forwards and backwards")
    reasons = "; ".join(f"{name} does not work: {why}" for name, why in failing.items())
    left = [name for name in works if name not in failing] + ["none"]
    remedy = f"Train with --set model.quantization={left[0]}"
    return Finding("Quantization", "warning", reasons, remedy)


def _models_folder() -> Finding:
    """Where the default model is kept, and whether it is there."""
    # start-up time
    from engine.llm.models import catalog, fetch

    folder = fetch.models_folder()
    name = catalog.DEFAULT
    if fetch.find(catalog.resolve(name), thorough=True) is not None:
        return Finding("Models", "ok", f"{folder}: {name} is here")
    if fetch.damaged():
        remedy = f"The next run makes it again, or: icemaze models get {name}"
        return Finding("Models", "warning", f"{folder}: {name} is damaged", remedy)
    if not writable(folder):
        remedy = "Choose another folder: ICEMAZE_CACHE_DIR=/path"
        return Finding("Models", "warning", f"{folder} is not writable", remedy)
    remedy = f"The first run fetches it, or: icemaze models get {name}"
    return Finding("Models", "ok", f"{folder}: {name} is not here yet", remedy)


def _fitting() -> Finding:
    """The biggest known model that this machine can train, and what keeps it from a bigger one."""
    # start-up time
    from engine.llm.models import catalog, memory

    machine = memory.this_machine()
    verdicts = [(known.alias, memory.verdict(known.shape, machine)) for known in catalog.KNOWN]
    fitting = [alias for alias, verdict in verdicts if verdict.can]
    room = f"{memory.words(machine.room)} free on the {'GPU' if machine.gpus else 'CPU'}"
    refused = next(((alias, v) for alias, v in verdicts if not v.can), None)
    if not fitting:
        text = f"{room}: too little for any model ({verdicts[0][0]}: {verdicts[0][1].text})"
        return Finding("LLM memory", "warning", text, "Close other programs, or use a GPU")
    text = f"{room}: enough for {', '.join(fitting)}"
    if refused is not None:
        text += f"; {refused[0]}: {refused[1].text}"
    return Finding("LLM memory", "ok", text, "`icemaze models` says more")
