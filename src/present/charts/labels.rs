//! Places labels beside their points without covering each other, by greedy choice and two rounds of second thoughts.

use super::canvas::{Area, Point};

/// A label to place: the point it belongs to, the radius of the point's marker, and the label's size in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    pub anchor: Point,
    pub radius: f64,
    pub width: f64,
    pub height: f64,
}

/// What labels have to keep clear of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surroundings {
    /// Never covered: markers, other texts.
    pub solid: Vec<Area>,
    /// Covered only if there is no better place: markers of the second rank.
    pub soft: Vec<Area>,
    /// Lines that labels should not lie on.
    pub lines: Vec<(Point, Point)>,
    /// Lines that labels may lie on if need be.
    pub faint_lines: Vec<(Point, Point)>,
}

/// A place per label, in order; none where every place covers another label, a solid area or leaves `frame`.
///
/// Above and left of the point comes first: nothing can lie there when the point is on a front of
/// time (to the right) and accuracy (up).
///
/// A greedy choice depends on whose turn comes first: of three orders, the one with the least cost is taken.
pub fn place(wanted: &[Wanted], frame: &Area, around: &Surroundings) -> Vec<Option<Area>> {
    let forward: Vec<usize> = (0..wanted.len()).collect();
    let backward = forward.iter().rev().copied().collect();
    let inward = forward.iter().copied().step_by(2).chain(forward.iter().copied().skip(1).step_by(2)).collect();
    let tries = [forward, backward, inward].map(|order: Vec<usize>| place_in(&order, wanted, frame, around));
    tries.into_iter().min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, places)| places).unwrap_or_default()
}

/// Cost and places when the labels choose in this order, and twice again knowing each other's places.
fn place_in(order: &[usize], wanted: &[Wanted], frame: &Area, around: &Surroundings) -> (f64, Vec<Option<Area>>) {
    const NO_PLACE: f64 = 2000.0;
    let mut places: Vec<Option<Area>> = vec![None; wanted.len()];
    let mut total = 0.0;
    for _round in 0..3 {
        total = 0.0;
        for &index in order {
            let best = candidates(&wanted[index])
                .filter_map(|(area, bias)| Some((cost(index, &area, wanted, &places, frame, around)? + bias, area)))
                .min_by(|(a, _), (b, _)| a.total_cmp(b));
            total += best.map_or(NO_PLACE, |(cost, _)| cost);
            places[index] = best.map(|(_, area)| area);
        }
    }
    (total, places)
}

/// The nearest point of the label to its anchor: where its leader line ends.
pub fn leader_end(label: &Area, anchor: Point) -> Point {
    (anchor.0.clamp(label.left, label.right), anchor.1.clamp(label.top, label.bottom))
}

/// Places around the point in rings, each with its share of the cost.
fn candidates(wanted: &Wanted) -> impl Iterator<Item = (Area, f64)> {
    let Wanted { anchor: (x, y), radius, width, height } = *wanted;
    // Direction of the label from the point, and how much less welcome it is.
    const DIRECTIONS: [(f64, f64, f64); 21] = [
        (-1.0, -1.0, 0.0),
        (-1.0, -0.5, 2.0),
        (-1.0, 0.0, 4.0),
        (-0.75, -1.0, 3.0),
        (-0.5, -1.0, 4.0),
        (-0.25, -1.0, 5.0),
        (0.0, -1.0, 6.0),
        (0.25, -1.0, 7.0),
        (0.5, -1.0, 8.0),
        (0.75, -1.0, 9.0),
        (1.0, -1.0, 10.0),
        (1.0, -0.5, 8.0),
        (1.0, 0.0, 8.0),
        (1.0, 0.5, 9.0),
        (1.0, 1.0, 10.0),
        (0.75, 1.0, 11.0),
        (0.5, 1.0, 12.0),
        (0.0, 1.0, 14.0),
        (-0.5, 1.0, 16.0),
        (-1.0, 0.5, 17.0),
        (-1.0, 1.0, 18.0),
    ];
    const DISTANCES: [f64; 9] = [4.0, 14.0, 30.0, 55.0, 85.0, 120.0, 160.0, 210.0, 270.0];
    DISTANCES.into_iter().flat_map(move |distance| {
        DIRECTIONS.into_iter().map(move |(dx, dy, bias)| {
            let gap = radius + distance;
            let diagonal = if dx != 0.0 && dy != 0.0 { 0.75 } else { 1.0 };
            let centre_x = x + dx * (gap * diagonal + width / 2.0);
            let centre_y = y + dy * (gap * diagonal + height / 2.0);
            (Area::new(centre_x - width / 2.0, centre_y - height / 2.0, width, height), bias + distance)
        })
    })
}

/// The cost of a place, beyond its distance; none if it is not allowed.
fn cost(
    index: usize,
    area: &Area,
    wanted: &[Wanted],
    places: &[Option<Area>],
    frame: &Area,
    around: &Surroundings,
) -> Option<f64> {
    let mut others = places.iter().enumerate().filter(|(other, _)| *other != index);
    let room = area.grown(3.0);
    let taken = others.any(|(_, other)| other.is_some_and(|other| room.overlaps(&other)))
        || around.solid.iter().any(|solid| room.overlaps(solid))
        || !frame.contains(area);
    if taken {
        return None;
    }
    let leader = leader(area, &wanted[index]);
    let soft = around.soft.iter().filter(|soft| area.overlaps(soft)).count() as f64 * 60.0;
    let on = |lines: &[(Point, Point)]| lines.iter().filter(|(a, b)| room.clip(*a, *b).is_some()).count() as f64;
    let lines = on(&around.lines) * 250.0 + on(&around.faint_lines) * 35.0;
    let cut = around.lines.iter().filter(|(a, b)| crosses(leader, (*a, *b))).count() as f64 * 30.0;
    let passed = passed(&wanted[index], area, around) as f64 * 80.0;
    Some(soft + lines + cut + passed + tangles(index, area, wanted, places) as f64 * 400.0)
}

/// Whether a label can be read and followed: it covers no point, and its leader line neither meets another label or its
/// line, nor passes through a point or text that it does not belong to.
pub fn is_clean(index: usize, wanted: &[Wanted], places: &[Option<Area>], around: &Surroundings) -> bool {
    places[index].is_some_and(|area| {
        !around.soft.iter().any(|soft| area.overlaps(soft))
            && passed(&wanted[index], &area, around) == 0
            && tangles(index, &area, wanted, places) == 0
    })
}

fn leader(area: &Area, wanted: &Wanted) -> (Point, Point) {
    (wanted.anchor, leader_end(area, wanted.anchor))
}

/// Solid areas that the leader line passes through, but for those that its point lies in.
fn passed(wanted: &Wanted, area: &Area, around: &Surroundings) -> usize {
    let (from, to) = leader(area, wanted);
    let own = Area::around(from, 0.1);
    around.solid.iter().filter(|solid| !solid.grown(0.1).overlaps(&own) && solid.clip(from, to).is_some()).count()
}

/// Other labels whose leader line or area meets this label's.
fn tangles(index: usize, area: &Area, wanted: &[Wanted], places: &[Option<Area>]) -> usize {
    let own = leader(area, &wanted[index]);
    let others = places.iter().zip(wanted).enumerate().filter(|(other, _)| *other != index);
    let placed = others.filter_map(|(_, (place, wanted))| Some((place.as_ref()?, leader(place.as_ref()?, wanted))));
    placed
        .filter(|(place, theirs)| {
            crosses(own, *theirs) || place.clip(own.0, own.1).is_some() || area.clip(theirs.0, theirs.1).is_some()
        })
        .count()
}

fn crosses((a, b): (Point, Point), (c, d): (Point, Point)) -> bool {
    let side = |p: Point, q: Point, r: Point| (q.0 - p.0) * (r.1 - p.1) - (q.1 - p.1) * (r.0 - p.0);
    side(a, b, c) * side(a, b, d) < 0.0 && side(c, d, a) * side(c, d, b) < 0.0
}

/// Moves the centres of texts of these heights so far apart that they do not overlap, within `top..=bottom` where they
/// fit; for labels at line ends.
pub fn spread(centres: &[f64], heights: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..centres.len()).collect();
    order.sort_by(|a, b| centres[*a].total_cmp(&centres[*b]));
    let mut placed = centres.to_vec();
    let mut least = top;
    for index in &order {
        placed[*index] = placed[*index].max(least + heights[*index] / 2.0);
        least = placed[*index] + heights[*index] / 2.0;
    }
    let mut most = bottom;
    for index in order.iter().rev() {
        placed[*index] = placed[*index].min(most - heights[*index] / 2.0);
        most = placed[*index] - heights[*index] / 2.0;
    }
    placed
}
