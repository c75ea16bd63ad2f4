//! The order in which objects are loaded, and which references have to wait for pass 2.
//!
//! A reference points from a child to parents, which have to be there first. What points into its own object waits for
//! pass 2; in a cycle as few references as possible wait, optional ones only. Ties are decided by the order of the sync,
//! so equal input gives an equal answer.

use std::collections::BTreeSet;

/// Cycles of up to this many objects are solved exactly (2^n sets); larger ones object by object.
const EXACT_OBJECTS_MAX: usize = 14;

/// A reference field of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Objects that it may point to, by their index.
    pub to: Vec<usize>,
    /// May it be written after its record?
    pub deferrable: bool,
}

/// An order that works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arranged {
    /// Indices of objects, parents first.
    pub order: Vec<usize>,
    /// (object, link) that wait for pass 2.
    pub deferred: BTreeSet<(usize, usize)>,
}

/// Objects that require each other, each the next and the last the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredCycle(pub Vec<usize>);

/// Arranges objects, given the links of each.
///
/// # Errors
/// [`RequiredCycle`] when references that can't wait form a cycle.
pub fn arrange(objects: &[Vec<Link>]) -> Result<Arranged, RequiredCycle> {
    let mut deferred = BTreeSet::new();
    for (object, links) in objects.iter().enumerate() {
        for (index, link) in links.iter().enumerate() {
            if link.to.contains(&object) {
                if !link.deferrable {
                    return Err(RequiredCycle(vec![object]));
                }
                deferred.insert((object, index));
            }
        }
    }
    let reach: Vec<BTreeSet<usize>> = (0..objects.len()).map(|o| reachable(objects, &deferred, o)).collect();
    let reaches = |from: usize, to: usize| reach.get(from).is_some_and(|r| r.contains(&to));
    let mut seen = BTreeSet::new();
    for first in 0..objects.len() {
        if seen.contains(&first) {
            continue;
        }
        let cycle: Vec<usize> = (first..objects.len())
            .filter(|o| reaches(first, *o) && reaches(*o, first))
            .collect();
        seen.extend(cycle.iter().copied());
        if cycle.len() > 1 {
            break_cycle(objects, &cycle, &mut deferred)?;
        }
    }
    Ok(Arranged {
        order: topological(objects, &deferred),
        deferred,
    })
}

fn open_links<'a>(
    objects: &'a [Vec<Link>],
    deferred: &'a BTreeSet<(usize, usize)>,
    object: usize,
) -> impl Iterator<Item = (usize, &'a Link)> {
    objects
        .get(object)
        .into_iter()
        .flatten()
        .enumerate()
        .filter(move |(index, _)| !deferred.contains(&(object, *index)))
}

fn reachable(objects: &[Vec<Link>], deferred: &BTreeSet<(usize, usize)>, from: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut stack = vec![from];
    while let Some(object) = stack.pop() {
        for (_, link) in open_links(objects, deferred, object) {
            for to in &link.to {
                if found.insert(*to) {
                    stack.push(*to);
                }
            }
        }
    }
    found
}

fn break_cycle(objects: &[Vec<Link>], cycle: &[usize], deferred: &mut BTreeSet<(usize, usize)>) -> Result<(), RequiredCycle> {
    let order = if cycle.len() <= EXACT_OBJECTS_MAX {
        fewest(objects, cycle, deferred)
    } else {
        greedy(objects, cycle, deferred)
    };
    let Some(order) = order else {
        return Err(RequiredCycle(required_cycle(objects, cycle)));
    };
    let mut placed = BTreeSet::new();
    for object in order {
        let waiting: Vec<usize> = open_links(objects, deferred, object)
            .filter(|(_, link)| link.to.iter().any(|to| cycle.contains(to) && !placed.contains(to)))
            .map(|(index, _)| index)
            .collect();
        deferred.extend(waiting.into_iter().map(|index| (object, index)));
        placed.insert(object);
    }
    Ok(())
}

/// How many links of `object` have to wait when only `placed` stand before it; `None` when one of them can't.
fn price(
    objects: &[Vec<Link>],
    deferred: &BTreeSet<(usize, usize)>,
    cycle: &[usize],
    object: usize,
    placed: impl Fn(usize) -> bool,
) -> Option<u32> {
    let mut count = 0;
    for (_, link) in open_links(objects, deferred, object) {
        if link.to.iter().any(|to| cycle.contains(to) && !placed(*to)) {
            if !link.deferrable {
                return None;
            }
            count += 1;
        }
    }
    Some(count)
}

/// The order with the fewest waiting links; among equals the one nearest to the sync's own order. Dynamic programming
/// over the sets of objects that are placed already.
fn fewest(objects: &[Vec<Link>], cycle: &[usize], deferred: &BTreeSet<(usize, usize)>) -> Option<Vec<usize>> {
    let full = (1_usize << cycle.len()) - 1;
    let price_of = |position: usize, object: usize, set: usize| {
        debug_assert_eq!(set & (1 << position), 0);
        price(objects, deferred, cycle, object, |o| {
            cycle.iter().position(|c| *c == o).is_some_and(|p| set & (1 << p) != 0)
        })
    };
    // best[set]: the price of placing the rest once `set` is placed, and what to place next.
    let mut best: Vec<Option<(u32, usize)>> = vec![None; full + 1];
    for set in (0..full).rev() {
        let mut found: Option<(u32, usize)> = None;
        for (position, object) in cycle.iter().enumerate().filter(|(p, _)| set & (1 << p) == 0) {
            let next = set | (1 << position);
            let rest = if next == full {
                Some(0)
            } else {
                best.get(next).copied().flatten().map(|(p, _)| p)
            };
            let (Some(own), Some(rest)) = (price_of(position, *object, set), rest) else {
                continue;
            };
            if found.is_none_or(|(least, _)| own + rest < least) {
                found = Some((own + rest, position));
            }
        }
        if let Some(slot) = best.get_mut(set) {
            *slot = found;
        }
    }
    let mut order = Vec::with_capacity(cycle.len());
    let mut set = 0;
    while set != full {
        let (_, position) = best.get(set).copied().flatten()?;
        order.push(*cycle.get(position)?);
        set |= 1 << position;
    }
    Some(order)
}

/// Always the object that costs least now. Finds an order whenever there is one: an object is stuck only while it
/// requires another that is not placed.
fn greedy(objects: &[Vec<Link>], cycle: &[usize], deferred: &BTreeSet<(usize, usize)>) -> Option<Vec<usize>> {
    let mut order: Vec<usize> = Vec::with_capacity(cycle.len());
    let mut placed = BTreeSet::new();
    while order.len() < cycle.len() {
        let (_, next) = cycle
            .iter()
            .filter(|o| !placed.contains(*o))
            .filter_map(|o| Some((price(objects, deferred, cycle, *o, |p| placed.contains(&p))?, *o)))
            .min()?;
        placed.insert(next);
        order.push(next);
    }
    Some(order)
}

/// Objects of a cycle made of required links alone.
fn required_cycle(objects: &[Vec<Link>], cycle: &[usize]) -> Vec<usize> {
    let mut left: BTreeSet<usize> = cycle.iter().copied().collect();
    let required = |object: usize, left: &BTreeSet<usize>| {
        objects
            .get(object)
            .into_iter()
            .flatten()
            .filter(|l| !l.deferrable)
            .flat_map(|l| l.to.iter().copied())
            .find(|to| left.contains(to))
    };
    while let Some(free) = left.iter().copied().find(|o| required(*o, &left).is_none()) {
        left.remove(&free);
    }
    let mut path: Vec<usize> = Vec::new();
    let mut at = left.first().copied();
    while let Some(object) = at {
        if let Some(start) = path.iter().position(|p| *p == object) {
            return path.split_off(start);
        }
        path.push(object);
        at = required(object, &left);
    }
    path
}

/// Parents first; of several that are ready, the first of the sync.
fn topological(objects: &[Vec<Link>], deferred: &BTreeSet<(usize, usize)>) -> Vec<usize> {
    let mut order = Vec::with_capacity(objects.len());
    let mut placed = BTreeSet::new();
    while let Some(next) = (0..objects.len())
        .find(|o| !placed.contains(o) && open_links(objects, deferred, *o).all(|(_, link)| link.to.iter().all(|to| placed.contains(to))))
    {
        placed.insert(next);
        order.push(next);
    }
    debug_assert_eq!(order.len(), objects.len(), "cycles were broken before");
    order
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn optional(to: &[usize]) -> Link {
        Link {
            to: to.to_vec(),
            deferrable: true,
        }
    }

    fn required(to: &[usize]) -> Link {
        Link {
            to: to.to_vec(),
            deferrable: false,
        }
    }

    #[test]
    fn graphs_are_arranged_with_the_fewest_deferred_links() {
        type Case = (&'static str, Vec<Vec<Link>>, Vec<usize>, Vec<(usize, usize)>);
        let table: Vec<Case> = vec![
            (
                "nothing points anywhere: the sync's order",
                vec![vec![], vec![], vec![]],
                vec![0, 1, 2],
                vec![],
            ),
            (
                "a parent that stands last moves first",
                vec![vec![optional(&[1])], vec![required(&[2])], vec![]],
                vec![2, 1, 0],
                vec![],
            ),
            ("into itself: deferred", vec![vec![optional(&[0])]], vec![0], vec![(0, 0)]),
            (
                "a pair that points at each other: the first of the sync is loaded first",
                vec![vec![optional(&[1])], vec![optional(&[0])]],
                vec![0, 1],
                vec![(0, 0)],
            ),
            (
                "the required half of a pair stays",
                vec![vec![required(&[1])], vec![optional(&[0])]],
                vec![1, 0],
                vec![(1, 0)],
            ),
            (
                "one link against two: the one waits",
                vec![vec![optional(&[1]), optional(&[1])], vec![optional(&[0])]],
                vec![1, 0],
                vec![(1, 0)],
            ),
            (
                "two rings through one object cost one link, not two",
                vec![vec![optional(&[1])], vec![optional(&[2])], vec![optional(&[0]), optional(&[1])]],
                vec![1, 0, 2],
                vec![(1, 0)],
            ),
            (
                "polymorphic: the whole field waits when one of its parents does",
                vec![vec![optional(&[1, 2])], vec![], vec![required(&[0])]],
                vec![0, 1, 2],
                vec![(0, 0)],
            ),
            (
                "a cycle hung on a chain",
                vec![vec![optional(&[1])], vec![optional(&[0]), required(&[2])], vec![]],
                vec![0, 2, 1],
                vec![(0, 0)],
            ),
        ];
        for (what, objects, order, deferred) in table {
            let found = arrange(&objects).unwrap();
            assert_eq!(found.order, order, "{what}");
            assert_eq!(found.deferred, deferred.into_iter().collect(), "{what}");
        }
    }

    #[test]
    fn required_cycles_are_named() {
        assert_eq!(arrange(&[vec![required(&[0])]]).unwrap_err(), RequiredCycle(vec![0]));
        let pair = [vec![required(&[1])], vec![required(&[0])]];
        assert_eq!(arrange(&pair).unwrap_err(), RequiredCycle(vec![0, 1]));
        // 0 only leads into the cycle of 1, 2 and 3, and an optional link closes a second one.
        let four = [
            vec![required(&[1])],
            vec![required(&[2]), optional(&[0])],
            vec![required(&[3])],
            vec![required(&[1])],
        ];
        assert_eq!(arrange(&four).unwrap_err(), RequiredCycle(vec![1, 2, 3]));
    }

    /// Every parent of a link that does not wait stands before the child.
    fn holds(objects: &[Vec<Link>], arranged: &Arranged) {
        assert_eq!(arranged.order.len(), objects.len());
        for (at, object) in arranged.order.iter().enumerate() {
            for (_, link) in open_links(objects, &arranged.deferred, *object) {
                for to in &link.to {
                    let parent = arranged.order.iter().position(|o| o == to).unwrap();
                    assert!(parent < at, "{object} stands before its parent {to}");
                }
            }
        }
        for (object, index) in &arranged.deferred {
            assert!(objects.get(*object).and_then(|l| l.get(*index)).unwrap().deferrable);
        }
    }

    #[test]
    fn rings_of_every_size_are_broken_at_one_link() {
        for size in 2..=40_usize {
            let ring: Vec<Vec<Link>> = (0..size).map(|o| vec![optional(&[(o + 1) % size])]).collect();
            let arranged = arrange(&ring).unwrap();
            holds(&ring, &arranged);
            assert_eq!(arranged.deferred.len(), 1, "ring of {size}");
        }
    }

    #[test]
    fn dense_graphs_keep_every_required_link() {
        // A fixed linear congruence stands in for chance, so that a failure can be repeated.
        let mut state = 7_u64;
        let mut draw = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        for _ in 0..200 {
            let size = 2 + draw(8);
            let objects: Vec<Vec<Link>> = (0..size)
                .map(|o| {
                    let mut links: Vec<Link> = (0..draw(4)).map(|_| optional(&[draw(size)])).collect();
                    if o > 0 && draw(2) == 0 {
                        links.push(required(&[draw(o)]));
                    }
                    links
                })
                .collect();
            let arranged = arrange(&objects).unwrap();
            holds(&objects, &arranged);
            assert_eq!(arranged, arrange(&objects).unwrap());
        }
    }
}
