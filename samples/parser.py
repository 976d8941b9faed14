"""Reads nested lists: `(a (b c))` becomes a tree."""

from dataclasses import dataclass, field


@dataclass
class Tree:
    nodes: list["Tree | str"] = field(default_factory=list)


def tokens(text: str) -> list[str]:
    return text.replace("(", " ( ").replace(")", " ) ").split()


def parse(text: str) -> Tree:
    left = tokens(text)
    if left.pop(0) != "(":
        raise ValueError("a tree begins with a bracket")
    tree = _read(left)
    if left:
        raise ValueError(f"{len(left)} tokens are left over")
    return tree


def _read(left: list[str]) -> Tree:
    tree = Tree()
    while left:
        token = left.pop(0)
        if token == "(":
            tree.nodes.append(_read(left))
        elif token == ")":
            return tree
        else:
            tree.nodes.append(token)
    raise ValueError("a bracket is not closed")


def show(tree: Tree, depth: int = 0) -> str:
    pad = "  " * depth
    lines = [show(node, depth + 1) if isinstance(node, Tree) else f"{pad}  {node}" for node in tree.nodes]
    return "\n".join([f"{pad}(", *lines, f"{pad})"])
