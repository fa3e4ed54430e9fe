use proptest::prelude::*;

use super::*;

const MOST: Duration = Duration::from_secs(30);

fn lane(name: &str) -> Lane {
    name.into()
}

fn sent(began: Instant) -> Sent {
    Sent { began, retry_after: None }
}

fn plan(lanes: &[&str]) -> (Plan, Instant) {
    let mut plan = Plan::new(2, MOST, Rate::new(0));
    for (head, name) in lanes.iter().enumerate() {
        plan.has_posts(&lane(name), Some(head as u64));
    }
    (plan, Instant::now())
}

#[test]
fn lanes_go_side_by_side_the_oldest_first_and_each_one_post_at_a_time() {
    let (mut plan, now) = plan(&["a", "b", "c"]);
    assert_eq!(plan.take(now), Some(lane("a")));
    assert_eq!(plan.take(now), Some(lane("b")));
    assert_eq!(plan.take(now), None);
    plan.has_posts(&lane("a"), Some(9));
    plan.delivered(&lane("a"), Some(9), now);
    assert_eq!(plan.take(now), Some(lane("c")));
    plan.delivered(&lane("b"), None, now);
    assert_eq!(plan.take(now), Some(lane("a")));
    assert_eq!((plan.take(now), plan.wake()), (None, None));
}

#[test]
fn while_the_server_is_down_everything_waits_and_then_one_asks() {
    let (mut plan, now) = plan(&["a", "b", "c"]);
    assert!(plan.take(now).is_some() && plan.take(now).is_some());
    let later = now + Duration::from_millis(1);
    assert!(plan.down(&lane("a"), Some(0), sent(now), later));
    let first = plan.down.unwrap();
    assert!(plan.down(&lane("b"), Some(1), sent(now), later));
    assert_eq!(plan.down.unwrap().failures, 1, "both were under way together");
    assert_eq!(plan.take(later), None);
    assert_eq!(plan.wake(), Some(first.until));
    // The one that has not failed yet asks, alone.
    assert_eq!(plan.take(first.until), Some(lane("c")));
    assert_eq!(plan.take(first.until), None);
    assert!(plan.down(&lane("c"), Some(2), sent(first.until), first.until));
    assert_eq!(plan.down.unwrap().failures, 2);
    let until = plan.down.unwrap().until;
    assert_eq!(plan.take(until), Some(lane("a")));
    plan.delivered(&lane("a"), Some(5), until);
    assert!(plan.take(until).is_some() && plan.take(until).is_some());
}

#[test]
fn a_refused_post_stops_its_lane_alone() {
    let (mut plan, now) = plan(&["a", "b"]);
    assert_eq!(plan.take(now), Some(lane("a")));
    plan.refused(&lane("a"), Some(0), now);
    plan.has_posts(&lane("a"), Some(0));
    assert_eq!(plan.take(now), Some(lane("b")));
    plan.delivered(&lane("b"), None, now);
    assert_eq!(plan.take(now), None);
    let wake = plan.wake().unwrap();
    assert!(wake > now && wake <= now + MOST);
    assert_eq!(plan.take(wake), Some(lane("a")));
    // Set aside, it is forgotten that it failed.
    plan.set_aside(&lane("a"), Some(8));
    assert_eq!((plan.failures.len(), plan.take(wake)), (0, Some(lane("a"))));
}

#[test]
fn a_post_that_fails_while_others_are_taken_stops_its_lane_alone() {
    let (mut plan, now) = plan(&["a", "b"]);
    assert!(plan.take(now).is_some() && plan.take(now).is_some());
    plan.delivered(&lane("b"), Some(7), now + Duration::from_millis(1));
    assert!(!plan.down(&lane("a"), Some(0), sent(now), now + Duration::from_millis(2)));
    assert_eq!(plan.take(now), Some(lane("b")));
    assert!(plan.wake().is_some());
}

#[test]
fn a_lane_that_is_announced_twice_still_goes_one_post_at_a_time() {
    let (mut plan, now) = plan(&["a"]);
    plan.has_posts(&lane("a"), Some(9));
    assert_eq!(plan.take(now), Some(lane("a")));
    assert_eq!(plan.take(now), None);
}

#[test]
fn a_lane_that_was_emptied_while_it_waited_is_forgotten() {
    let (mut plan, now) = plan(&["a"]);
    assert_eq!(plan.take(now), Some(lane("a")));
    plan.refused(&lane("a"), None, now);
    assert_eq!((plan.take(now + MOST), plan.wake()), (None, None));
    plan.has_posts(&lane("a"), Some(3));
    assert_eq!(plan.take(now), Some(lane("a")));
    plan.idle(&lane("a"), None);
    assert_eq!(plan.take(now), None);
}

#[test]
fn a_server_is_left_alone_for_as_long_as_it_asks_up_to_an_hour() {
    let (mut plan, now) = plan(&["a", "b", "c"]);
    assert!(plan.take(now).is_some() && plan.take(now).is_some());
    let minutes = |minutes: u64| Sent { began: now, retry_after: Some(Duration::from_secs(60 * minutes)) };
    let later = now + Duration::from_millis(1);
    assert!(plan.down(&lane("a"), Some(0), minutes(5), later));
    assert_eq!(plan.wake(), None, "the other is still under way");
    assert!(plan.down(&lane("b"), Some(1), minutes(3), later));
    assert_eq!(plan.wake(), Some(later + Duration::from_secs(300)), "the longer one counts");
    assert_eq!(plan.take(later + Duration::from_secs(299)), None);
    let then = later + Duration::from_secs(300);
    assert!(plan.take(then).is_some());
    assert!(plan.down(&lane("c"), Some(2), Sent { began: then, ..minutes(9999) }, then));
    assert_eq!(plan.wake(), Some(then + LONGEST_RETRY));
    plan.up();
    assert!(plan.take(then).is_some());
}

#[test]
fn no_more_go_than_the_rate_allows() {
    let now = Instant::now();
    let mut plan = Plan::new(2, MOST, Rate::new(4));
    plan.has_posts(&lane("a"), Some(1));
    assert_eq!(plan.take(now), Some(lane("a")));
    plan.delivered(&lane("a"), Some(2), now);
    assert_eq!(plan.take(now), None);
    let wake = plan.wake().unwrap();
    assert_eq!(wake - now, Duration::from_millis(250));
    assert_eq!(plan.take(wake), Some(lane("a")));
    assert_eq!(plan.wake(), None, "nothing stands ready");
}

#[test]
fn a_held_lane_stands_still_until_it_is_released() {
    let (mut plan, now) = plan(&["a", "b"]);
    assert!(plan.take(now).is_some() && plan.take(now).is_some());
    plan.hold(&lane("a"));
    plan.has_posts(&lane("a"), Some(0));
    plan.release(&lane("b"), Some(1));
    assert_eq!((plan.take(now), plan.wake()), (None, None), "b is still under way");
    plan.release(&lane("a"), Some(0));
    plan.release(&lane("a"), Some(0));
    assert_eq!((plan.take(now), plan.take(now)), (Some(lane("a")), None));
}

/// What may happen to the lane that is under way longest, or to all.
#[derive(Clone, Copy, Debug)]
enum Event {
    HasPosts(u8),
    Take,
    Delivered,
    Emptied,
    Refused,
    Down(u16),
    Held,
    Release(u8),
    SetAside,
    Stuck,
    CanaryTaken,
    Pass(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..6_u8).prop_map(Event::HasPosts),
        Just(Event::Take),
        Just(Event::Take),
        Just(Event::Delivered),
        Just(Event::Emptied),
        Just(Event::Refused),
        (0..9_u16).prop_map(Event::Down),
        Just(Event::Held),
        (0..6_u8).prop_map(Event::Release),
        Just(Event::SetAside),
        Just(Event::Stuck),
        Just(Event::CanaryTaken),
        (0..20_000_u16).prop_map(Event::Pass),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_each_lane_is_in_one_place_and_none_waits_for_ever(
        events in proptest::collection::vec(event(), 0..200),
    ) {
        let name = |number: u8| lane(&format!("lane{number}"));
        let mut plan = Plan::new(3, MOST, Rate::new(50));
        let mut now = Instant::now();
        let mut under_way: Vec<(Lane, Instant)> = Vec::new();
        for event in events {
            let ended = match event {
                Event::HasPosts(number) => {
                    plan.has_posts(&name(number), Some(u64::from(number)));
                    continue;
                }
                Event::Take => {
                    under_way.extend(plan.take(now).map(|lane| (lane, now)));
                    None
                }
                Event::Release(number) => {
                    plan.release(&name(number), Some(1));
                    None
                }
                Event::CanaryTaken => {
                    plan.up();
                    None
                }
                Event::Pass(ms) => {
                    now += Duration::from_millis(ms.into());
                    None
                }
                _ if under_way.is_empty() => None,
                _ => Some(under_way.remove(0)),
            };
            if let Some((lane, began)) = ended {
                match event {
                    Event::Delivered => plan.delivered(&lane, Some(1), now),
                    Event::Emptied => plan.idle(&lane, None),
                    Event::Refused => plan.refused(&lane, Some(1), now),
                    Event::Held => plan.hold(&lane),
                    Event::SetAside => plan.set_aside(&lane, Some(1)),
                    Event::Stuck => plan.stuck(&lane, Some(1), now),
                    Event::Down(seconds) => {
                        let retry_after = Some(Duration::from_secs(seconds.into()));
                        plan.down(&lane, Some(1), Sent { began, retry_after }, now);
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(plan.under_way, under_way.len());
            prop_assert!(plan.under_way <= 3);
            let places = plan.ready.len() + under_way.len() + plan.pausing.len() + plan.held.len();
            prop_assert_eq!(plan.known.len(), places, "{:?}", plan);
        }
        // The server is well from here on, and what is held is due: all lanes go, at their wakes alone.
        (0..6).for_each(|number| plan.release(&name(number), Some(1)));
        let mut left = plan.known.len();
        under_way.drain(..).for_each(|(lane, _)| plan.delivered(&lane, Some(1), now));
        for _ in 0..1000 {
            while let Some(lane) = plan.take(now) {
                plan.delivered(&lane, None, now);
                left -= 1;
            }
            match plan.wake() {
                Some(wake) => {
                    prop_assert!(wake > now, "it would look again and again");
                    now = wake;
                }
                None => break,
            }
        }
        prop_assert_eq!((left, plan.known.len(), plan.under_way), (0, 0, 0), "{:?}", plan);
    }
}
