"""Changes to a graph that PyTorch exports: weights are shared, and only what is asked for is computed."""

from collections.abc import Iterable
from typing import Any

FLAGS = {"frames": "with_frames", "whitening": "with_whitening"}  # by the start of an output's name
CLIPS = "with_clips"  # of the other outputs
FLOAT, BOOL = 1, 9  # of TensorProto.DataType


def share_weights(graph: Any) -> None:
    """Let nodes take weights themselves, not by copies for a second use, which are not made int8."""
    weights = {tensor.name for tensor in graph.initializer}
    copies = [node for node in graph.node if node.op_type == "Identity" and node.input[0] in weights]
    names = {node.output[0]: node.input[0] for node in copies}
    kept = {output.name for output in graph.output}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    for node in copies:
        if node.output[0] not in kept:
            graph.node.remove(node)


def make_optional(graph: Any, helper: Any) -> None:
    """Compute clips, frames and whitening where `with_clips` and so on are true, which is their default.

    ONNX Runtime computes all outputs, whichever are fetched, except in the branch of an `If` that is not
    taken: the nodes that only such a group of outputs needs go into one. `helper` is `onnx.helper`.
    """
    groups: dict[str, list[Any]] = {}
    for output in graph.output:
        flag = FLAGS.get(output.name.split("_")[0], CLIPS)
        groups.setdefault(flag, []).append(output)
    nodes = list(graph.node)
    needed = {flag: _needed(nodes, (output.name for output in group)) for flag, group in groups.items()}
    branches = []
    for flag, group in groups.items():
        others = set().union(*(found for other, found in needed.items() if other != flag))
        own = needed[flag] - others
        branches.append(_branch(flag, [nodes[i] for i in sorted(own)], group, helper))
        graph.input.append(helper.make_tensor_value_info(flag, BOOL, []))
        graph.initializer.append(helper.make_tensor(flag, BOOL, [], [True]))
        needed[flag] -= own
    shared = [nodes[i] for i in sorted(set().union(*needed.values()))]
    del graph.node[:]
    graph.node.extend(shared + branches)


def _needed(nodes: list[Any], names: Iterable[str]) -> set[int]:
    """The nodes that these values are computed by."""
    makers = {name: number for number, node in enumerate(nodes) for name in node.output}
    found: set[int] = set()
    waiting = [makers[name] for name in names]
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += [makers[name] for name in nodes[number].input if name in makers]
    return found


def _branch(flag: str, nodes: list[Any], outputs: list[Any], helper: Any) -> Any:
    """An `If` with the outputs: of these nodes, or with no values."""
    inside = {output.name: f"{output.name}_wanted" for output in outputs}
    for node in nodes:
        assert not any(attribute.HasField("g") for attribute in node.attribute), "no branches in a branch"
        node.input[:] = [inside.get(name, name) for name in node.input]
        node.output[:] = [inside.get(name, name) for name in node.output]
    values, empty = [], []
    for output in outputs:
        rank = len(output.type.tensor_type.shape.dim)
        values.append(helper.make_tensor_value_info(inside[output.name], FLOAT, [None] * rank))
        tensor = helper.make_tensor("", FLOAT, [0] * rank, [])
        empty.append(helper.make_node("Constant", [], [f"{output.name}_empty"], value=tensor))
    nothing = [helper.make_tensor_value_info(node.output[0], FLOAT, None) for node in empty]
    return helper.make_node(
        "If",
        [flag],
        list(inside),
        name=flag,
        then_branch=helper.make_graph(nodes, f"{flag}_yes", [], values),
        else_branch=helper.make_graph(empty, f"{flag}_no", [], nothing),
    )
