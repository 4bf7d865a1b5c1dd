"""A pretended GPU: tensors that say ``cuda:0`` and hold their values on the CPU.

No kernel runs, so this shows nothing about speed, memory or the errors of kernels. What it shows:

- Tensors of two devices in one operation raise an error, as with CUDA.
- Every operation that makes the host wait for the device is counted, with the line that caused it.
- Every operation that launches kernels is counted. Views and allocations launch none.
- Values are true: results can be compared with those of the CPU.
- Memory that tensors hold is counted, if it is limited; a tensor beyond the limit is an error.
- A CUDA graph computes anew, from its own memory, what was captured; capturing refuses what makes
  the host wait or what comes from the host, as CUDA does.

Only the thread that enters :class:`PretendedGpu` sees the devices.
"""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Self
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

PACKAGE = "clip_surgery_ros/"
FREE = {
    *("aten::empty", "aten::empty_like", "aten::empty_strided", "aten::new_empty"),
    *("aten::new_empty_strided", "aten::detach", "aten::alias", "aten::lift_fresh"),
    *("aten::_unsafe_view", "aten::set_", "aten::resize_", "aten::_local_scalar_dense"),
    *("aten::is_same_size", "aten::_reshape_alias"),
}
"""Operations that launch no kernel, besides views."""
WAITING = {
    *("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::is_nonzero"),
    *("aten::equal", "aten::_unique2", "aten::unique_dim", "aten::item", "aten::allclose"),
}
"""Operations whose result, or its size, is read by the host."""
KERNELS = {"aten::sort": 3, "aten::convolution": 2, "aten::index_put_": 2}
"""Kernels of operations that launch more than one; those of a sort are a guess."""
INDEXING = ("aten::index", "aten::index_put_", "aten::index_put")
FUSED = "aten::scaled_dot_product_attention"
WHOLE = (FUSED, "aten::batch_norm")
"""Operations whose parts are CUDA's own: they are computed as one."""


@dataclass
class Counts:
    """What the host asked of the device.

    :param launches: kernels, by line of the package.
    :param waits: times that the host waited, by cause and line.
    :param uploads: copies to the device, by line.
    :param devices: devices that were synchronised, timed or computed on.
    """

    launches: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)
    uploads: Counter[str] = field(default_factory=Counter)
    bytes_up: int = 0
    bytes_down: int = 0
    devices: set[torch.device] = field(default_factory=set)


class PretendedGpu:
    """Pretends to have GPUs while it is entered.

    >>> with PretendedGpu() as gpu:
    ...     x = torch.ones(3, device="cuda:0") + 1
    ...     x.sum().item()
    6.0
    >>> gpu.counts.waits.total(), gpu.counts.launches.total()
    (1, 3)

    :param devices: number of GPUs.
    :param capability: their CUDA compute capability.
    :param memory: bytes of all of them; None for no limit, without which nothing is counted.
    """

    def __init__(
        self,
        devices: int = 1,
        capability: tuple[int, int] = (9, 0),
        memory: int | None = None,
    ) -> None:
        self.devices, self.capability, self.memory = devices, capability, memory
        self.usable, self.used_bytes, self.most_bytes = memory or 0, 0, 0
        """Bytes that tensors may hold, that they hold, and the most that they held."""
        self._holders: Counter[int] = Counter()  # tensors by the address of their memory
        self._sizes: dict[int, int] = {}
        self.reports_waits = False
        self.failure = ""
        """What CUDA says of an error after which it computes nothing any more; empty for none."""
        self.counts = Counts()
        self.captured: list[Callable[[], object]] | None = None
        """What replays the operations of the graph that is being captured."""
        self._entered = contextlib.ExitStack()

    def __enter__(self) -> Self:
        torch._C._ensureCUDADeviceGuardSet()  # without it, autograd has no guard for this device
        stack = self._entered
        stack.callback(PretendedTensor.gpus.pop)
        PretendedTensor.gpus.append(self)
        for owner, name, replacement in _patches(self):
            stack.enter_context(patch.object(owner, name, replacement))
        overwritten = torch.__future__.get_overwrite_module_params_on_conversion()
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwritten)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.enter_context(_Operations(self))
        stack.enter_context(_Constructors())
        return self

    def __exit__(self, *error: object) -> None:
        self._entered.close()

    @contextlib.contextmanager
    def counting(self) -> Iterator[Counts]:
        """Count anew; what was counted before is added again at the end."""
        before, self.counts = self.counts, Counts()
        try:
            yield self.counts
        finally:
            self.counts = before

    def check(self) -> None:
        """Raise the error that made the device useless, if there was one."""
        if self.failure:
            raise torch.AcceleratorError(self.failure)

    def note_memory(self, tensor: PretendedTensor) -> None:
        """Count the memory of a new tensor until it is freed; views share that of others.

        :raises torch.OutOfMemoryError: when it is more than is left.
        """
        if self.memory is None:
            return
        storage = tensor.inner.untyped_storage()
        pointer = storage.data_ptr()
        if not self._holders[pointer]:
            self._sizes[pointer] = storage.nbytes()
            self.used_bytes += storage.nbytes()
        self._holders[pointer] += 1
        weakref.finalize(tensor, self._free, pointer)
        if self.used_bytes > self.usable:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.most_bytes = max(self.most_bytes, self.used_bytes)

    def _free(self, pointer: int) -> None:
        self._holders[pointer] -= 1
        if not self._holders[pointer]:
            self.used_bytes -= self._sizes.pop(pointer)

    def note_wait(self, cause: str) -> None:
        """Count a wait of the host, and report it as torch does, if that is switched on."""
        self.counts.waits[cause] += 1
        if self.reports_waits:
            warnings.warn("called a synchronizing CUDA operation", stacklevel=2)

    def dispatch(self, function: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Compute one operation of torch, with tensors of the CPU and of the GPUs."""
        tensors = _tensors((arguments, options))
        ours = [x for x in tensors if isinstance(x, PretendedTensor)]
        named = [x for x in arguments if isinstance(x, torch.device)]  # by Tensor.to
        if not ours and not any(map(_is_gpu, [options.get("device"), *named])):
            return function(*arguments, **_on_cpu(options))
        self.check()
        name = function._schema.name
        if name == "aten::to":
            return self._to(function, arguments, options)
        if name not in WHOLE and tensors:
            composite = torch._C.DispatchKey.CompositeImplicitAutograd
            if composite not in function.py_kernels:
                result = function.decompose(*arguments, **options)
                if result is not NotImplemented:
                    return result
        if name == "aten::_to_copy":
            return self._to_copy(arguments[0], options)
        if name == "aten::copy_":
            return self._copy(function, arguments, options)
        device = self._device_of(name, tensors, options)
        self._note_waits(name, arguments)
        inner = _inner((arguments, _on_cpu(options)))
        out = function(*inner[0], **inner[1])
        self._launch(function, arguments, options, out)
        return _wrapped(function, arguments, options, out, device)

    def _to(self, function: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Compute ``Tensor.to``, which returns its argument when nothing changes."""
        names = (argument.name for argument in function._schema.arguments)
        bound = dict(zip(names, arguments, strict=False)) | options
        source, other = bound["self"], bound.get("other")
        device = other.device if other is not None else bound.get("device")
        dtype = other.dtype if other is not None else bound.get("dtype")
        device = source.device if device is None else _numbered(device)
        dtype = dtype or source.dtype
        if device == source.device and dtype == source.dtype and not bound.get("copy"):
            return source
        blocking = not bound.get("non_blocking")
        return self._to_copy(
            source, {"device": device, "dtype": dtype, "non_blocking": not blocking}
        )

    def _to_copy(self, source: Tensor, options: dict[str, Any]) -> Tensor:
        target = _numbered(options.get("device") or source.device)
        rest = {k: v for k, v in options.items() if k not in ("device", "pin_memory")}
        cpu = torch.device("cpu")

        def converted() -> Tensor:
            inner = torch.ops.aten._to_copy.default(_inner(source), device=cpu, **rest)
            shares = inner.numel() and inner.data_ptr() == _inner(source).data_ptr()
            return inner.clone() if shares else inner

        inner = converted()
        is_blocking = not options.get("non_blocking")
        if target.type == "cpu":
            self._download(source, is_blocking)
            return inner
        if isinstance(source, PretendedTensor):
            self._note_launches(1, lambda: inner.copy_(converted()))
        else:
            self._upload(source, is_blocking)
        return PretendedTensor(inner, target)

    def _copy(self, function: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        target, source = arguments[:2]
        is_blocking = not (arguments[2] if len(arguments) > 2 else options.get("non_blocking"))
        if not isinstance(source, PretendedTensor):
            self._upload(source, is_blocking)
        elif not isinstance(target, PretendedTensor):
            self._download(source, is_blocking)
        else:
            self._note_launches(1, lambda: function(_inner(target), _inner(source)))
        function(_inner(target), _inner(source))
        return target

    def _note_launches(self, kernels: int, again: Callable[[], object]) -> None:
        """Count kernels, or keep what computes them again for the graph that is captured."""
        if self.captured is None:
            self.counts.launches[line()] += kernels
        else:
            self.captured.append(again)

    def _refuse_capture(self) -> None:
        if self.captured is not None:
            raise torch.AcceleratorError(
                "CUDA error: operation not permitted when stream is capturing\nMore about it"
            )

    def _upload(self, source: Tensor, is_blocking: bool) -> None:
        self._refuse_capture()
        self.counts.uploads[line()] += 1
        self.counts.bytes_up += source.nbytes
        if is_blocking or not getattr(source, "was_pinned", False):
            self.note_wait(f"upload, {line()}")

    def _download(self, source: Tensor, is_blocking: bool) -> None:
        self._refuse_capture()
        self.counts.bytes_down += source.nbytes
        if is_blocking:
            self.note_wait(f"download, {line()}")

    def _device_of(
        self, name: str, tensors: list[Tensor], options: dict[str, Any]
    ) -> torch.device:
        """Return the one device of an operation's tensors.

        :raises RuntimeError: when there are two, as CUDA does.
        """
        devices = {x.device for x in tensors if isinstance(x, PretendedTensor)}
        for tensor in tensors:
            if isinstance(tensor, PretendedTensor) or not tensor.dim():
                continue  # scalars of the host may take part
            if name not in INDEXING:
                devices.add(tensor.device)
            else:
                self.note_wait(f"index of the host, {line()}")
        if len(devices) > 1:
            names = " and ".join(sorted(map(str, devices)))
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found {names} ({name})"
            )
        device = devices.pop() if devices else _numbered(options["device"])
        self.counts.devices.add(device)
        return device

    def _note_waits(self, name: str, arguments: tuple[Any, ...]) -> None:
        is_selection = name in INDEXING and any(
            isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)
            for index in arguments[1]
        )
        if name in WAITING or is_selection:
            self._refuse_capture()
            self.note_wait(f"{name.removeprefix('aten::')}, {line()}")

    def _launch(
        self, function: Any, arguments: tuple[Any, ...], options: dict[str, Any], out: Any
    ) -> None:
        name = function._schema.name
        if function.is_view or name in FREE:
            return
        kernels = KERNELS.get(name, 1)
        if name == FUSED:
            mask = options.get("attn_mask", arguments[3] if len(arguments) > 3 else None)
            # The fused kernels read masks whose rows are aligned; others are padded first.
            kernels = 3 if mask is not None and mask.shape[-1] % 8 else 1

        def again() -> None:
            inner = _inner((arguments, _on_cpu(options)))
            new = function(*inner[0], **inner[1])
            for old, value in zip(_tensors(out), _tensors(new), strict=True):
                if old.data_ptr() != value.data_ptr():
                    old.copy_(value)

        self._note_launches(kernels, again)


class PretendedGraph:
    """``torch.cuda.CUDAGraph``: computes again what was captured, as one launch."""

    def __init__(self) -> None:
        self.captured: list[Callable[[], object]] = []

    def pool(self) -> tuple[int, int]:
        return 0, 1

    def replay(self) -> None:
        gpu = PretendedTensor.gpus[-1]
        gpu.check()
        gpu.counts.launches[line()] += 1
        for again in self.captured:
            again()

    @contextlib.contextmanager
    def capture(self, **options: object) -> Iterator[None]:
        """Capture as ``torch.cuda.graph`` does."""
        gpu = PretendedTensor.gpus[-1]
        gpu.captured = self.captured
        try:
            yield
        finally:
            gpu.captured = None


class PretendedTensor(Tensor):
    """A tensor that says it is on a GPU, and holds a tensor of the CPU."""

    inner: Tensor
    gpus: list[PretendedGpu] = []  # noqa: RUF012 - those that are entered, the innermost last

    @staticmethod
    def __new__(cls, inner: Tensor, device: torch.device) -> PretendedTensor:
        with torch.inference_mode(False):
            tensor = torch.Tensor._make_wrapper_subclass(
                cls,
                inner.shape,
                strides=inner.stride(),
                storage_offset=inner.storage_offset(),
                dtype=inner.dtype,
                layout=inner.layout,
                device=device,
            )
        tensor.inner = inner
        if cls.gpus:
            cls.gpus[-1].note_memory(tensor)
        return tensor

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"PretendedTensor({tuple(self.shape)}, {self.dtype}, {self.device})"

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: object, arguments: Any = (), options: Any = None
    ) -> Any:
        if not cls.gpus:
            raise RuntimeError("the pretended GPU is gone")
        return cls.gpus[-1].dispatch(function, arguments, options or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> PretendedTensor:
        if id(self) not in memo:
            copied = PretendedTensor(self.inner.clone(), self.device)
            if getattr(self, "_is_param", False):  # what makes it a Parameter
                copied._is_param = True
            memo[id(self)] = copied
        return memo[id(self)]


class _Operations(TorchDispatchMode):
    """Sends every operation to the GPU, also those that only name it."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_dispatch__(
        self, function: Any, types: object, arguments: Any = (), options: Any = None
    ) -> Any:
        return self._gpu.dispatch(function, arguments, options or {})


class _Constructors(TorchFunctionMode):
    """Lets ``torch.tensor`` make a tensor of the host first; torch would ask the driver."""

    def __torch_function__(
        self, function: Any, types: object, arguments: Any = (), options: Any = None
    ) -> Any:
        options = dict(options or {})
        if function in (torch.tensor, torch.as_tensor) and _is_gpu(options.get("device")):
            device = options.pop("device")
            return function(*arguments, **options).to(device)
        if function is Tensor.tolist:  # torch has none for subclasses
            return arguments[0].cpu().tolist()
        return function(*arguments, **options)


class Event:
    """``torch.cuda.Event`` with the host's clock."""

    def __init__(self, enable_timing: bool = False) -> None:
        self._time_s = 0.0

    def record(self, stream: torch.device) -> None:
        PretendedTensor.gpus[-1].counts.devices.add(stream)
        self._time_s = time.perf_counter()

    def synchronize(self) -> None:
        PretendedTensor.gpus[-1].counts.waits[f"event, {line()}"] += 1

    def query(self) -> bool:
        return True

    def elapsed_time(self, later: Event) -> float:
        return 1e3 * (later._time_s - self._time_s)


def line() -> str:
    """Return the line of the package that is computing, or that of a test."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        name = frame.f_code.co_filename
        if PACKAGE in name and "/test/" not in name:
            return f"{name.rpartition(PACKAGE)[2]}:{frame.f_lineno}"
        frame = frame.f_back
    return "test"


def _patches(gpu: PretendedGpu) -> list[tuple[Any, str, Any]]:
    """Return what asks the driver: owner, name, and what answers instead."""

    def synchronize(device: Any = None) -> None:
        gpu.counts.devices.add(_numbered(device or "cuda"))
        gpu.counts.waits[f"synchronize, {line()}"] += 1
        gpu.check()

    def limit_memory(fraction: float, device: Any = None) -> None:
        gpu.usable = int(fraction * (gpu.memory or 0))

    def pin_memory(tensor: Tensor, *_: object) -> Tensor:
        pinned = tensor.clone()
        pinned.was_pinned = True  # type: ignore[attr-defined]
        return pinned

    cuda: dict[str, Any] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_lazy_init": lambda: None,
        "device_count": lambda: gpu.devices,
        "current_device": lambda: 0,
        "get_device_capability": lambda *_: gpu.capability,
        "get_device_name": lambda *_: "Pretended",
        "synchronize": synchronize,
        "current_stream": lambda device=None: _numbered(device or "cuda"),
        "empty_cache": lambda: None,
        "Event": Event,
        "CUDAGraph": PretendedGraph,
        "graph": lambda graph, **options: graph.capture(**options),
        "Stream": lambda device=None: _numbered(device or "cuda"),
        "device": lambda device: contextlib.nullcontext(),
        "memory_allocated": lambda device=None: gpu.used_bytes,
        "memory_reserved": lambda device=None: gpu.used_bytes,
        "max_memory_reserved": lambda device=None: gpu.most_bytes,
        "reset_peak_memory_stats": lambda device=None: setattr(gpu, "most_bytes", gpu.used_bytes),
        "get_device_properties": lambda device: SimpleNamespace(total_memory=gpu.memory),
        "set_per_process_memory_fraction": limit_memory,
        "set_sync_debug_mode": lambda mode: setattr(gpu, "reports_waits", mode == "warn"),
    }
    return [
        *((torch.cuda, name, answer) for name, answer in cuda.items()),
        (Tensor, "pin_memory", pin_memory),
        (Tensor, "is_pinned", lambda tensor, *_: getattr(tensor, "was_pinned", False)),
    ]


def _is_gpu(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def _numbered(device: Any) -> torch.device:
    device = torch.device(device)
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def _tensors(value: Any) -> list[Tensor]:
    """Return all tensors in tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return []
    return [tensor for each in value for tensor in _tensors(each)]


def _inner(value: Any) -> Any:
    """Return the same with the CPU's tensors instead of those of a GPU."""
    if isinstance(value, PretendedTensor):
        return value.inner
    if isinstance(value, list | tuple):
        return type(value)(map(_inner, value))
    if isinstance(value, dict):
        return {key: _inner(each) for key, each in value.items()}
    return value


def _on_cpu(options: dict[str, Any]) -> dict[str, Any]:
    changed = {k: torch.device("cpu") if k == "device" else v for k, v in options.items()}
    return changed | ({"pin_memory": False} if changed.get("pin_memory") else {})


def _wrapped(
    function: Any, arguments: tuple[Any, ...], options: dict[str, Any], out: Any, device: Any
) -> Any:
    """Return results as tensors of the device; arguments that were written to, as themselves."""
    schema, written = function._schema, {}
    given = [*zip(schema.arguments, arguments, strict=False)]
    given += [(x, options[x.name]) for x in schema.arguments if x.name in options]
    for argument, value in given:
        info = argument.alias_info
        if info is not None and info.is_write and isinstance(value, PretendedTensor):
            written |= dict.fromkeys(info.before_set, value)

    def wrap(value: Any, info: Any = None) -> Any:
        if info is not None and info.is_write:
            for alias in info.before_set:
                if alias in written:
                    return written[alias]
        if isinstance(value, Tensor) and not isinstance(value, PretendedTensor):
            return PretendedTensor(value, device)
        return value

    if isinstance(out, tuple) and len(schema.returns) == len(out):
        return tuple(wrap(x, r.alias_info) for x, r in zip(out, schema.returns, strict=True))
    if isinstance(out, list | tuple):
        return type(out)(wrap(x) for x in out)
    return wrap(out, schema.returns[0].alias_info if schema.returns else None)
