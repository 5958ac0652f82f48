"""How each source file reads."""

from __future__ import annotations

import ast
import re

_MAX_FILE_LINES = 400
_MAX_FUNCTION_LINES = 45
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)


def _of_each_module(test):
    """One test over all modules, as thousands of small ones take their time; it names each module that fails."""

    def walk(modules):
        failed = []
        for module in modules:
            try:
                test(module)
            except AssertionError as error:
                failed.append(f"{module.name}: {error}")
        assert modules
        assert not failed, "\n".join(failed)

    walk.__name__, walk.__doc__ = test.__name__, test.__doc__
    return walk


def _functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)]


def _body_lines(function):
    """Lines of a function's own statements: without its signature, its docstring and what is defined within it."""
    nested = [node for node in ast.walk(function) if isinstance(node, _DEFINITIONS) and node is not function]
    inner = {line for node in nested for line in range(node.lineno, node.end_lineno + 1)}
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return len(set(range(body[0].lineno, body[-1].end_lineno + 1)) - inner) if body else 0


@_of_each_module
def test_it_says_what_it_is_for(module):
    assert ast.get_docstring(module.tree)


@_of_each_module
def test_it_is_short(module):
    assert len(module.text.splitlines()) <= _MAX_FILE_LINES


@_of_each_module
def test_its_functions_are_short(module):
    long = {node.name: _body_lines(node) for node in _functions(module.tree)}
    assert {name: lines for name, lines in long.items() if lines > _MAX_FUNCTION_LINES} == {}


@_of_each_module
def test_its_name_says_what_belongs_in_it(module):
    assert module.path.stem not in {"utils", "util", "helpers", "common", "misc"}


@_of_each_module
def test_annotations_are_not_evaluated(module):
    if module.tree.body[1:]:
        assert "from __future__ import annotations\n" in module.text


@_of_each_module
def test_nothing_in_it_is_left_for_later(module):
    assert re.findall(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError)\b", module.text) == []


@_of_each_module
def test_imports_stand_at_the_top(module):
    """But for the command line, which starts fast and hands over to packages that load slowly."""
    if module.name.startswith("embsnap.cli."):
        return
    inside = [
        node.lineno
        for function in _functions(module.tree)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert inside == []


@_of_each_module
def test_all_holds_what_is_public(module):
    """Every public function and class of the module, and nothing that it has not. Constants may stay out."""
    if module.path.stem in {"__init__", "__main__"}:
        return
    exported = _exported(module.tree)
    assert exported is not None
    assert len(set(exported)) == len(exported)
    assert set(exported) <= set(_bound(module.tree))
    assert {name for name in _defined(module.tree) if not name.startswith("_")} <= set(exported)


@_of_each_module
def test_a_package_is_imported_from_its_modules(module):
    """So that an import costs what it names; the root is the one public face."""
    if module.path.stem == "__init__" and module.name != "embsnap":
        assert len(module.tree.body) == 1


@_of_each_module
def test_what_is_public_is_described(module):
    undescribed = [node.name for node in _public(module.tree) if ast.get_docstring(node) is None]
    assert undescribed == []


def _exported(tree):
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "__all__":
            return ast.literal_eval(node.value)
    return None


def _bound(tree):
    """Names that a module has: defined, assigned or imported at its top level."""
    for node in tree.body:
        if isinstance(node, _DEFINITIONS):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name))
        elif isinstance(node, ast.AnnAssign):
            yield node.target.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)


def _defined(tree):
    """Functions and classes of a module; a subcommand belongs to its group, not to its module."""
    for node in tree.body:
        if isinstance(node, _DEFINITIONS) and not any(_is_subcommand(decorator) for decorator in node.decorator_list):
            yield node.name


def _is_subcommand(decorator):
    return ast.unparse(decorator).startswith("command.command(")


def _public(tree):
    """Public functions and classes of a module, and public methods that no base class describes."""
    for node in tree.body:
        if isinstance(node, _DEFINITIONS) and not node.name.startswith("_"):
            yield node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not node.bases:
            yield from (item for item in node.body if isinstance(item, _FUNCTIONS) and _is_for_callers(item.name))


def _is_for_callers(method):
    return not method.startswith(("_", "test_"))
