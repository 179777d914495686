"""Makes a failing case small: leaves out views, features, items, layers, rows and spine rows, and puts parts of expressions in the place
of the whole, as long as a difference of the same kind stays.
"""

import dataclasses
from typing import Any, Callable, Iterator

import tree
from tree import Aggregate, Case, Column, View

Fails = Callable[[Case], bool]


def shrunk(case: Case, fails: Fails, tries: int = 300) -> Case:
    """The smallest case found within `tries` runs."""
    budget = [tries]

    def still(candidate: Case) -> bool:
        budget[0] -= 1
        return fails(candidate)

    progress = True
    while progress and budget[0] > 0:
        progress = False
        for candidate in smaller(case):
            if budget[0] <= 0:
                break
            if still(candidate):
                case, progress = candidate, True
                break
    return case


def smaller(case: Case) -> Iterator[Case]:
    """Smaller cases, the boldest steps first."""
    yield from with_fewer_items(case)
    yield from with_fewer_views(case)
    for number, view in enumerate(case.views):
        for made in smaller_views(view, case):
            yield put(case, "views", number, made)
    yield from with_fewer_rows(case)
    yield from with_smaller_items(case)


def put(case: Any, field: str, number: int, made: Any) -> Any:
    parts = getattr(case, field)
    return dataclasses.replace(case, **{field: (*parts[:number], made, *parts[number + 1:])})


def halves(parts: tuple) -> Iterator[tuple]:
    """A sequence without pieces of it: halves first, then single ones."""
    size = len(parts) // 2
    while size >= 1:
        for start in range(0, len(parts), size):
            yield parts[:start] + parts[start + size:]
        size //= 2


def with_fewer_items(case: Case) -> Iterator[Case]:
    items = case.service.items
    for kept in halves(items):
        if kept:
            yield dataclasses.replace(case, service=dataclasses.replace(case.service, items=kept))
    for number, (label, value) in enumerate(items):
        if label == "*":
            view = next(made for made in case.views for join in case.service.joins if join.alias == value.table and join.view == made.name)
            spread = tuple((name, Column(feature.type, name, value.table)) for name, feature in view.features)
            yield dataclasses.replace(case, service=dataclasses.replace(case.service, items=(*items[:number], *spread, *items[number + 1:])))


def used(case: Case) -> set[tuple[str, str]]:
    """(alias, feature) that the service's items name; `*` is all of an alias."""
    return {(node.table, node.name) for _, value in case.service.items for node in tree.walk(value) if isinstance(node, Column)}


def with_fewer_views(case: Case) -> Iterator[Case]:
    names = used(case)
    for join in case.service.joins:
        if not any(alias == join.alias for alias, _ in names):
            joins = tuple(other for other in case.service.joins if other is not join)
            if joins:
                views = tuple(view for view in case.views if view.name != join.view)
                yield dataclasses.replace(case, views=views, service=dataclasses.replace(case.service, joins=joins))
    entities = {view.entity for view in case.views}
    sources = {view.source for view in case.views}
    if len(entities) < len(case.entities) or len(sources) < len(case.sources):
        yield dataclasses.replace(case, entities=tuple(made for made in case.entities if made.name in entities),
                                  sources=tuple(made for made in case.sources if made.name in sources))




def smaller_views(view: View, case: Case) -> Iterator[View]:
    names = used(case)
    aliases = [join.alias for join in case.service.joins if join.view == view.name]
    if not any((alias, "*") in names for alias in aliases):
        for number, (label, _) in enumerate(view.features):
            if len(view.features) > 1 and not any((alias, label) in names for alias in aliases):
                yield dataclasses.replace(view, features=view.features[:number] + view.features[number + 1:])
    if view.where is not None:
        yield dataclasses.replace(view, where=None)
        for part in parts_of(view.where):
            yield dataclasses.replace(view, where=part)
    if view.ttl_us is not None:
        yield dataclasses.replace(view, ttl_us=None)
    for number, layer in enumerate(view.layers):
        if layer.where is not None:
            yield put(view, "layers", number, dataclasses.replace(layer, where=None))
        for at, (label, value) in enumerate(layer.items):
            yield put(view, "layers", number, dataclasses.replace(layer, items=layer.items[:at] + layer.items[at + 1:]))
            for part in parts_of(value):
                yield put(view, "layers", number, dataclasses.replace(layer, items=(*layer.items[:at], (label, part), *layer.items[at + 1:])))
    if view.layers:
        yield dataclasses.replace(view, layers=view.layers[1:])
    for number, (label, value) in enumerate(view.features):
        for part in parts_of(value):
            if has_aggregate(part):
                yield put(view, "features", number, (label, part))
    windows = {node.window for _, value in view.features for node in tree.walk(value) if isinstance(node, Aggregate)}
    if len(windows) < len(view.windows):
        yield dataclasses.replace(view, windows=tuple(window for window in view.windows if window.name in windows))


def has_aggregate(value: Any) -> bool:
    return any(isinstance(node, Aggregate) for node in tree.walk(value))


def parts_of(value: Any) -> Iterator[Any]:
    """Smaller expressions of the same type: parts of it, and itself with one part made smaller."""
    for node in tree.walk(value):
        if node is not value and node.type == value.type:
            yield node
    if isinstance(value, Aggregate) and value.filter is not None:
        yield dataclasses.replace(value, filter=None)
    yield from with_smaller_child(value)


def with_smaller_child(value: Any) -> Iterator[Any]:
    match value:
        case tree.Call() | Aggregate():
            for number, child in enumerate(value.args):
                for part in parts_of(child):
                    yield dataclasses.replace(value, args=(*value.args[:number], part, *value.args[number + 1:]))
            if isinstance(value, Aggregate) and value.filter is not None:
                for part in parts_of(value.filter):
                    yield dataclasses.replace(value, filter=part)
        case tree.Cast():
            for part in parts_of(value.arg):
                yield dataclasses.replace(value, arg=part)
        case tree.CaseWhen():
            if len(value.arms) > 1:
                for number in range(len(value.arms)):
                    yield dataclasses.replace(value, arms=value.arms[:number] + value.arms[number + 1:])
            for number, (when, then) in enumerate(value.arms):
                for part in parts_of(when):
                    yield dataclasses.replace(value, arms=(*value.arms[:number], (part, then), *value.arms[number + 1:]))
                for part in parts_of(then):
                    yield dataclasses.replace(value, arms=(*value.arms[:number], (when, part), *value.arms[number + 1:]))


def with_fewer_rows(case: Case) -> Iterator[Case]:
    for kept in halves(case.spine):
        if kept:
            yield dataclasses.replace(case, spine=kept)
    for number, source in enumerate(case.sources):
        for kept in halves(tuple(range(len(source.rows)))):
            rows, places = tuple(source.rows[at] for at in kept), tuple(source.places[at] for at in kept)
            yield put(case, "sources", number, dataclasses.replace(source, rows=rows, places=places))


def with_smaller_items(case: Case) -> Iterator[Case]:
    for number, (label, value) in enumerate(case.service.items):
        if label != "*":
            for part in parts_of(value):
                items = (*case.service.items[:number], (label, part), *case.service.items[number + 1:])
                yield dataclasses.replace(case, service=dataclasses.replace(case.service, items=items))
