//! Tests of the whole screen, drawn into memory.

use std::time::Instant;

use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::*;
use crate::central::WorkerState;
use crate::inspect::DrawState;
use crate::top::keys::Step;
use crate::top::model::Worker;

/// Returns a central with this many workers. The worker of slot `n` has pid `100 + n`.
pub fn central(workers: usize) -> Central {
    let worker = |slot: usize| Worker {
        slot,
        pid: 100 + slot as u32,
        state: WorkerState::Ready,
        uptime: Duration::from_secs(60),
        restarts: 0,
        connections: 3,
        in_flight: 2,
        batches: 1234,
        may_kill: true,
    };
    Central {
        segment: 1,
        port: 12345,
        phase: "serving",
        supervisor: 99,
        uptime: Duration::from_secs(60),
        generation: 1,
        bets: 5000,
        winners: 15,
        in_flight: 4,
        latency: None,
        deaths: 0,
        waiting: 0,
        draw: DrawState {
            finished: vec![1, 2, 3],
            missing: vec![],
            expected: 5,
            is_drawn: false,
            awaits_confirmation: false,
        },
        unhealthy: Vec::new(),
        workers: (0..workers).map(worker).collect(),
    }
}

fn view(central: Central) -> View {
    let mut view = View::new(Palette::new(true));
    view.update(Ok(central), Instant::now());
    view
}

fn terminal(view: &View, width: u16, height: u16) -> ratatui::Terminal<TestBackend> {
    let mut terminal = ratatui::Terminal::new(TestBackend::new(width, height)).expect("a screen");
    terminal.draw(|frame| draw(frame, view)).expect("the drawing");
    terminal
}

/// Returns the lines of the screen.
fn screen(view: &View, width: u16, height: u16) -> Vec<String> {
    let text = terminal(view, width, height).backend().to_string();
    text.lines().map(|line| line.trim_matches('"').to_owned()).collect()
}

fn count_in(lines: &[String], part: &str) -> usize {
    lines.iter().map(|line| line.matches(part).count()).sum()
}

#[test]
fn eight_workers_the_rates_and_the_draw_fit_on_80_columns_and_24_rows() {
    let lines = screen(&view(central(8)), 80, 24);
    for part in ["central on port 12345 serving", "batches/s", "agencies in flight", "q leave"] {
        assert_eq!(count_in(&lines, part), 1, "{part} in {lines:#?}");
    }
    for slot in 0..8 {
        assert_eq!(count_in(&lines, &format!(" {slot} pid {}", 100 + slot)), 1, "{lines:#?}");
    }
    assert_eq!(count_in(&lines, "1,234"), 8);
    assert_eq!(count_in(&lines, "2 of 3"), 8);
    assert_eq!(count_in(&lines, "15 winners among 5,000 bets"), 1);
    assert_eq!(count_in(&lines, "■■■□□ 3 of 5 agencies have finished"), 1);
    assert_eq!(count_in(&lines, "finished: 1-3"), 1, "{lines:#?}");
}

#[test]
fn ten_boxes_stand_beside_each_other_on_200_columns() {
    let lines = screen(&view(central(20)), 200, 24);
    assert_eq!(lines.iter().filter(|line| line.matches("● ready").count() == 10).count(), 2);
}

#[test]
fn every_size_of_a_screen_can_be_drawn() {
    let view = view(central(30));
    for width in [1, 2, 19, 20, 40, 80, 300] {
        for height in [1, 2, 5, 11, 24, 80] {
            screen(&view, width, height);
        }
    }
}

#[test]
fn the_row_of_the_selected_worker_is_on_the_screen() {
    let mut view = view(central(32));
    assert_eq!(count_in(&screen(&view, 80, 24), "pid 131"), 0);
    (0..7).for_each(|_| view.select(Step::Down, boxes_per_row(80)));
    (0..9).for_each(|_| view.select(Step::Next, boxes_per_row(80)));
    assert_eq!(view.selected, 31);
    assert_eq!(count_in(&screen(&view, 80, 24), "pid 131"), 1);
}

#[test]
fn the_key_for_a_kill_is_offered_only_where_the_selected_worker_may_be_killed() {
    let mut state = central(2);
    state.workers[1].may_kill = false;
    let mut view = view(state);
    assert_eq!(count_in(&screen(&view, 80, 24), "k kill"), 1);
    view.select(Step::Next, 4);
    assert_eq!(count_in(&screen(&view, 80, 24), "k kill"), 0);
    assert!(view.killable().is_none());
}

#[test]
fn a_killed_worker_is_reported_until_its_replacement_accepts() {
    let (mut view, start) = (view(central(2)), Instant::now());
    view.record_kill(0, 100, Ok(()), start);
    assert!(view.awaits_replacement());
    let mut state = central(2);
    state.workers[0].pid = 200;
    state.workers[0].restarts = 1;
    state.workers[0].state = WorkerState::Starting;
    view.update(Ok(state), start + Duration::from_millis(5));
    assert!(view.awaits_replacement(), "the replacement does not accept yet");
    let mut state = central(2);
    state.workers[0].pid = 200;
    view.update(Ok(state), start + Duration::from_millis(9));
    let lines = screen(&view, 80, 24);
    assert_eq!(count_in(&lines, "worker 0 killed; pid 200 accepts after 9ms"), 1, "{lines:#?}");
    assert!(!view.awaits_replacement());
}

#[test]
fn without_a_central_the_view_says_why_and_shows_the_next_one() {
    let (mut view, now) = (view(central(2)), Instant::now());
    view.update(Err("no central runs on port 12345".to_owned()), now);
    let lines = screen(&view, 80, 24);
    assert_eq!(count_in(&lines, "no central runs on port 12345."), 1);
    assert_eq!(count_in(&lines, "pid 100"), 0);
    let mut next = central(2);
    (next.segment, next.supervisor) = (2, 77);
    view.update(Ok(next), now);
    let lines = screen(&view, 80, 24);
    assert_eq!(count_in(&lines, "a new central, supervisor 77"), 1, "{lines:#?}");
}

#[test]
fn reasons_for_bad_health_have_a_line_of_their_own() {
    let mut state = central(2);
    state.unhealthy = vec!["1 of 2 workers accept".to_owned()];
    assert_eq!(count_in(&screen(&view(state), 80, 24), "NOT HEALTHY: 1 of 2 workers accept"), 1);
}

#[test]
fn the_latency_takes_the_second_sparkline_where_the_central_measures_it() {
    let (mut view, now) = (view(central(1)), Instant::now());
    let mut state = central(1);
    state.latency = Some(Duration::from_millis(7));
    view.update(Ok(state), now + Duration::from_secs(1));
    let lines = screen(&view, 80, 24);
    assert_eq!(count_in(&lines, "p99 latency 7ms now, 7ms highest"), 1, "{lines:#?}");
    assert_eq!(count_in(&lines, "agencies in flight"), 0);
}

#[test]
fn without_colours_no_cell_has_one_and_with_colours_some_have() {
    let mut view = view(central(2));
    let coloured = |view: &View| {
        let terminal = terminal(view, 80, 24);
        let cells = terminal.backend().buffer().content().iter();
        cells.filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    assert!(coloured(&view) > 0);
    view.palette = Palette::new(false);
    assert_eq!(coloured(&view), 0);
}
