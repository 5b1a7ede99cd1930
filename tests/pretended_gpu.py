"""A GPU where there is none: tensors that say they are on one, and an error wherever a GPU would raise one.

A pretended tensor holds one of the CPU. Each operation of torch passes here. It is refused where it mixes the
two devices, as a GPU refuses it; else the CPU does it. A CUDA graph is pretended too: what is recorded is not
done, may not wait for the GPU's answer, and is done on the same tensors at each replay, whatever Python
names they have by then.

What cannot be seen so: whether kernels are right, how fast they are, how much memory they take, and what
several streams do to each other. Under autocast the CPU's choice of operations is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from maporl_cli.agents import replay

GPU = torch.device("cuda", 0)
aten = torch.ops.aten

_CROSSING = {aten._to_copy.default, aten.copy_.default}
"""What may read one device and write another."""
_WAITING = {
    aten._local_scalar_dense,
    aten._unique2,
    aten.allclose,
    aten.bincount,
    aten.equal,
    aten.is_nonzero,
    aten.masked_select,
    aten.nonzero,
    aten.repeat_interleave,
    aten.unique_consecutive,
    aten.unique_dim,
}
"""What gives Python a number, or a shape, that depends on what is in a tensor."""
_INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}
"""What takes indices of the CPU as well, and copies them."""


class Pretended(Tensor):
    """To torch's own code it is a tensor of the CPU; its device is only what it tells Python."""

    inner: Tensor
    device = property(lambda self: GPU)  # pyright: ignore[reportAssignmentType]
    is_cuda = property(lambda self: True)  # pyright: ignore[reportAssignmentType]
    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore

    @staticmethod
    def __new__(cls, inner: Tensor) -> Pretended:
        found = torch.Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype
        )
        found.inner = inner
        return found

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _Machine.now.run(func, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:
        return f"Pretended({self.inner})"

    def tolist(self) -> Any:
        _Machine.now.wait("tolist")
        return self.inner.tolist()

    def storage(self) -> Any:
        return self.inner.storage()

    def untyped_storage(self) -> Any:
        return self.inner.untyped_storage()

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            found: Tensor = Pretended(self.inner.clone())
            if isinstance(self, torch.nn.Parameter):
                found = torch.nn.Parameter(found, requires_grad=self.requires_grad)
            memo[id(self)] = found
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.inner.__reduce_ex__(protocol)  # as what `map_location="cpu"` reads

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def cpu(self, *_: Any) -> Tensor:
        return self.to("cpu")

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        if args and isinstance(args[0], Pretended):  # as one that is on the GPU
            args = (args[0].dtype, *args[1:])
        device, dtype, _, form = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and device.type == "cpu":
            # torch's own code asks for a tensor of the same device by the one that it sees, which is the CPU.
            return _Leaving.apply(self, dtype)  # pyright: ignore[reportReturnType]
        if dtype is None or dtype == self.dtype:
            return self
        return aten._to_copy.default(self, dtype=dtype, memory_format=form)


class _Leaving(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Pretended, dtype: torch.dtype | None) -> Tensor:
        _Machine.now.wait("copying to the CPU")
        ctx.dtype = tensor.dtype
        return tensor.inner.to(dtype, copy=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return Pretended(gradients[0].to(ctx.dtype)), None


class _Machine(TorchDispatchMode):
    now: _Machine

    def __init__(self) -> None:
        super().__init__()
        self.recording: list[Callable[[], None]] | None = None
        """What a replay does, while a graph is recorded."""
        self.recorded = self.replays = 0
        self.aside = False
        """Whether work goes to another stream than that of all else."""
        self.chosen: torch.device | None = None
        """The GPU that graphs are made on and started on; of several, no other than the one in use."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def wait(self, what: str) -> None:
        if self.recording is not None:
            raise RuntimeError(f"{what}: operation not permitted when stream is capturing")

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_gpu = [tensor for tensor in tensors if isinstance(tensor, Pretended)]
        on_cpu = [tensor for tensor in tensors if not isinstance(tensor, Pretended)]
        name = func.overloadpacket
        chooses = name in _INDEXING and any(
            leaf.dtype == torch.bool for leaf in tree_leaves(args[1]) if leaf is not None
        )
        if on_gpu and (name in _WAITING or chooses):
            self.wait(str(func))
        if on_gpu and on_cpu:
            self.wait(str(func))
            self._check(func, args, on_cpu)
        inner_args, inner_kwargs = tree_map(_inner, (args, kwargs))
        to_gpu = bool(on_gpu)
        if "device" in kwargs:
            inner_kwargs["device"] = torch.device("cpu")
            if not on_gpu:
                to_gpu = kwargs["device"] is not None and torch.device(kwargs["device"]).type == "cuda"
                if to_gpu and func is aten._to_copy.default:
                    self.wait(str(func))
        found = self._do(func, inner_args, inner_kwargs, recordable=bool(on_gpu) or to_gpu)
        if func is aten._to_copy.default and found is inner_args[0]:
            found = found.clone()
        same = {id(tensor.inner): tensor for tensor in on_gpu}
        same |= {id(tensor): tensor for tensor in on_cpu}

        def outer(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return same.get(id(value), Pretended(value) if to_gpu else value)

        return tree_map(outer, found)

    @staticmethod
    def _check(func: Any, args: Any, on_cpu: list[Tensor]) -> None:
        if func in _CROSSING:
            return
        for tensor in on_cpu:
            index = func.overloadpacket in _INDEXING and tensor is not args[0]
            # A number without a dimension may be on the CPU.
            if tensor.dim() and not (index and not tensor.is_floating_point() and tensor is not args[-1]):
                raise RuntimeError(f"{func}: expected all tensors to be on the same device, cuda:0 and cpu")

    def _do(self, func: Any, args: Any, kwargs: Any, *, recordable: bool) -> Any:
        if self.recording is None or not recordable:
            return func(*args, **kwargs)
        if func._schema.is_mutable:
            self.recording.append(lambda: func(*args, **kwargs))
            # Not done now: only what the operation gives back is told.
            return args[0]
        found = func(*args, **kwargs)
        read = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if _is_tensor(leaf)}
        fresh = [
            leaf
            for leaf in tree_leaves(found)
            if _is_tensor(leaf) and leaf.untyped_storage().data_ptr() not in read
        ]
        if fresh:
            for leaf in fresh:  # nothing has been computed yet
                leaf.fill_(float("nan") if leaf.is_floating_point() else 0)

            def again() -> None:
                for before, now in zip(
                    filter(_is_tensor, tree_leaves(found)),
                    filter(_is_tensor, tree_leaves(func(*args, **kwargs))),
                    strict=True,
                ):
                    before.copy_(now)

            self.recording.append(again)
        return found

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        self.chosen = device
        try:
            yield
        finally:
            self.chosen = None

    @contextmanager
    def stream(self, _: torch.device) -> Iterator[None]:
        self.aside = True
        try:
            yield
        finally:
            self.aside = False


class _Graph:
    work: list[Callable[[], None]]

    def capture_begin(self, *, capture_error_mode: str) -> None:
        machine = _Machine.now
        if not machine.aside or machine.recording is not None:
            raise RuntimeError("CUDA graphs must be captured on a non-default stream, one at a time")
        assert machine.chosen == GPU
        assert capture_error_mode == "thread_local", "others would be disturbed"
        machine.recording = []

    def capture_end(self) -> None:
        machine = _Machine.now
        assert machine.recording is not None
        self.work, machine.recording = machine.recording, None
        machine.recorded += 1

    def replay(self) -> None:
        assert _Machine.now.chosen == GPU
        _Machine.now.replays += 1
        with torch.no_grad(), torch.utils._python_dispatch._disable_current_modes():
            for step in self.work:
                step()


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, Pretended) else value


@contextmanager
def pretended_gpu() -> Iterator[_Machine]:
    """A machine with a GPU: `recorded` and `replays` of what is given count its CUDA graphs."""
    lifted = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    with ExitStack() as stack:
        stack.callback(torch._C._set_only_lift_cpu_tensors, lifted)
        stack.callback(replay._stream.cache_clear)
        machine = _Machine()
        _Machine.now = machine
        for name, stand_in in {
            "_lazy_init": lambda: None,
            "CUDAGraph": _Graph,
            "stream": machine.stream,
            "Stream": lambda device: device,
            "device": machine.device,
        }.items():
            stack.enter_context(patch.object(torch.cuda, name, stand_in))
        stack.enter_context(patch.object(torch.nn.Module, "to", _moving(torch.nn.Module.to)))
        stack.enter_context(patch.object(torch, "autocast", _of_the_cpu(torch.autocast)))
        stack.enter_context(machine)
        yield machine


def _of_the_cpu(true: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _, *args, **kwargs: true("cpu", *args, **kwargs)


def _moving(true: Callable[..., torch.nn.Module]) -> Callable[..., torch.nn.Module]:
    def to(model: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.nn.Module:
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        if device is None or device.type != "cuda":
            return true(model, *args, **kwargs)
        on_gpu(model if dtype is None else true(model, dtype))
        return model

    return to


def on_gpu(model: torch.nn.Module) -> None:
    """Moves a model's parameters and buffers, in place. `Module.to` would not believe in the device."""
    moved: dict[int, Any] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and not isinstance(parameter, Pretended):
                if id(parameter) not in moved:  # matrices that are tied stay so
                    inner = Pretended(parameter.detach())
                    moved[id(parameter)] = torch.nn.Parameter(inner, requires_grad=parameter.requires_grad)
                module._parameters[name] = moved[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None and not isinstance(buffer, Pretended):
                module._buffers[name] = Pretended(buffer)
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and not isinstance(value, Pretended):
                setattr(module, name, Pretended(value))
