//! Which key is visited next, as a pure state machine: fair between accounts, and first come first served within one.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, hash_map::Entry},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::replication::requeue::Ending;

/// How soon a key should be visited once it is due, compared with the others of its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Nothing is known to have changed.
    Check,
    /// Something failed, or someone has to act.
    Retry,
    /// Something changed, or the last visit left something to do.
    Change,
}

impl From<Ending> for Urgency {
    /// That of the visit after one that ended so.
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Done | Ending::Blocked => Self::Check,
            Ending::Retry => Self::Retry,
            Ending::After(_) => Self::Change,
        }
    }
}

/// When a key is visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Not before this time.
    pub at: Instant,
    /// Which of the keys that are due go first.
    pub urgency: Urgency,
}

impl Due {
    /// Both at once: at the earlier time, with the higher urgency.
    #[must_use]
    pub fn and(self, other: Option<Self>) -> Self {
        other.map_or(self, |other| Self {
            at: self.at.min(other.at),
            urgency: self.urgency.max(other.urgency),
        })
    }
}

/// The accounts that the visits of a key call, by name. The first one is the account whose turn it is.
pub type Accounts = Arc<[String]>;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<K> {
    /// Visit this key, which calls these accounts: [`Schedule::ended`] says when the visit is over.
    Visit(K, Accounts),
    /// Ask again at this time, or once something changed.
    Wait(Option<Instant>),
}

/// Each key is visited once at a time, and never earlier than it is due.
///
/// Accounts take turns. Within an account the more urgent keys go first, but every fourth turn is for the key that has waited for the longest time,
/// so that none waits forever. The visits of an account use at most three times as many slots as are free, and those that call an account as their
/// second or third seven times as many: an account whose calls are slow leaves some to the others, and to those with the same destination as well.
/// An account that is alone is not limited to a fixed share.
#[derive(Debug)]
pub struct Schedule<K> {
    slots: usize,
    keys: HashMap<K, State>,
    later: BTreeMap<(Instant, u64), K>,
    accounts: BTreeMap<String, OfAccount<K>>,
    /// Slots in use, by each account that their visits call.
    used: HashMap<String, usize>,
    running: usize,
    /// Visits that wait for something, and use no slot meanwhile, by their first account.
    waiting: HashMap<String, usize>,
    paused: usize,
    /// Numbers what comes, in order.
    last: u64,
}

/// The visits of an account use at most so many times the slots that are free.
const SHARE: usize = 3;
/// The same for the further accounts that visits call.
const FURTHER_SHARE: usize = 7;
/// One of so many turns of an account is for the key that has waited for the longest time.
const OLDEST: u64 = 4;
/// At most so many visits for each slot wait without one, since each of them uses memory. An account has its share of these places, too.
const PAUSED: usize = 8;

#[derive(Debug)]
enum State {
    Later(u64, Due, Accounts),
    Ready(Place, Accounts),
    Running {
        accounts: Accounts,
        is_paused: bool,
        again: Option<(Due, Accounts)>,
    },
}

/// The place of a key that is due among the others: the more urgent ones first, then in the order in which they came.
type Place = (Reverse<Urgency>, u64);

/// What is due of an account.
#[derive(Debug)]
struct OfAccount<K> {
    /// By the accounts that the visits call.
    ready: BTreeMap<Accounts, BTreeMap<Place, (K, Instant)>>,
    /// The number of its last turn, or of when it came.
    last: u64,
    turns: u64,
}

impl<K: Clone + Eq + Hash> Schedule<K> {
    /// With so many slots, and at least one.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            slots: slots.max(1),
            keys: HashMap::new(),
            later: BTreeMap::new(),
            accounts: BTreeMap::new(),
            used: HashMap::new(),
            running: 0,
            waiting: HashMap::new(),
            paused: 0,
            last: 0,
        }
    }

    /// The key is to be visited, if it is not already to be visited earlier. A key that is visited right now is visited again.
    pub fn touch(&mut self, key: K, due: Due, accounts: Accounts) {
        match self.keys.get_mut(&key) {
            Some(State::Running { again, .. }) => {
                let due = due.and(again.take().map(|(due, _)| due));
                *again = Some((due, accounts));
                return;
            }
            // It keeps its place, and its account its turn: what is touched all the time is visited as well.
            Some(State::Ready(place, former))
                if *former == accounts && place.0.0 >= due.urgency =>
            {
                return;
            }
            Some(State::Ready(..) | State::Later(..)) | None => {}
        }
        let due = match self.keys.remove(&key) {
            Some(State::Later(number, before, _)) => {
                self.later.remove(&(before.at, number));
                due.and(Some(before))
            }
            Some(State::Ready((Reverse(urgency), number), former)) => {
                let since = self.withdraw((Reverse(urgency), number), &former);
                let place = (Reverse(urgency.max(due.urgency)), number);
                self.enqueue(key, place, since.unwrap_or(due.at), accounts);
                return;
            }
            Some(State::Running { .. }) | None => due,
        };
        let number = self.next_number();
        self.later.insert((due.at, number), key.clone());
        self.keys.insert(key, State::Later(number, due, accounts));
    }

    /// The visit of the key is over. It is visited again if that says so, or if it was touched meanwhile.
    pub fn ended(&mut self, key: &K, again: Option<(Due, Accounts)>) {
        let is_running = matches!(self.keys.get(key), Some(State::Running { .. }));
        let ended = is_running.then(|| self.keys.remove(key)).flatten();
        let Some(State::Running {
            accounts: called,
            is_paused,
            again: touched,
        }) = ended
        else {
            return;
        };
        if is_paused {
            self.end_waiting(&called);
        } else {
            self.give_back(&called);
        }
        for (due, accounts) in touched.into_iter().chain(again) {
            self.touch(key.clone(), due, accounts);
        }
    }

    /// The visit of the key waits, and gives its slot back.
    pub fn pause(&mut self, key: &K) {
        if let Some(State::Running {
            accounts,
            is_paused: is_paused @ false,
            ..
        }) = self.keys.get_mut(key)
        {
            *is_paused = true;
            let accounts = Arc::clone(accounts);
            self.paused += 1;
            add(&mut self.waiting, accounts.first());
            self.give_back(&accounts);
        }
    }

    /// The visit of the key goes on. It takes a slot even if none is free, so that what it has is not held for longer.
    pub fn resume(&mut self, key: &K) {
        if let Some(State::Running {
            accounts,
            is_paused: is_paused @ true,
            ..
        }) = self.keys.get_mut(key)
        {
            *is_paused = false;
            let accounts = Arc::clone(accounts);
            self.end_waiting(&accounts);
            self.take(&accounts);
        }
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: Instant) -> Next<K> {
        while let Some(((at, number), key)) = self.later.pop_first() {
            if at > now {
                self.later.insert((at, number), key);
                break;
            }
            let number = self.next_number();
            if let Some(State::Later(_, due, accounts)) = self.keys.remove(&key) {
                let place = (Reverse(due.urgency), number);
                self.enqueue(key, place, due.at, accounts);
            }
        }
        let Some((account, accounts, place)) = self.first() else {
            let next = self.later.first_key_value();
            return Next::Wait(next.map(|((at, _), _)| *at));
        };
        let number = self.next_number();
        let found = self.accounts.get_mut(&account).and_then(|of_account| {
            (of_account.last, of_account.turns) = (number, of_account.turns + 1);
            let lane = of_account.ready.get(&accounts)?;
            lane.get(&place).map(|(key, _)| key.clone())
        });
        let Some(key) = found else {
            unreachable!("it was found just now");
        };
        self.withdraw(place, &accounts);
        self.take(&accounts);
        let running = State::Running {
            accounts: Arc::clone(&accounts),
            is_paused: false,
            again: None,
        };
        self.keys.insert(key.clone(), running);
        Next::Visit(key, accounts)
    }

    /// How many keys of each account are due, and for how long the first of them has been.
    #[must_use]
    pub fn waiting(&self, now: Instant) -> BTreeMap<String, (usize, Duration)> {
        let of_account = |of_account: &OfAccount<K>| {
            let lanes = of_account.ready.values();
            let since = lanes.clone().flat_map(BTreeMap::values);
            let longest = since.map(|(_, since)| now.duration_since(*since)).max();
            let number = lanes.map(BTreeMap::len).sum();
            (number, longest.unwrap_or_default())
        };
        let all = self.accounts.iter();
        all.map(|(name, found)| (name.clone(), of_account(found)))
            .collect()
    }

    fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Queues a key that has been due since `since`.
    fn enqueue(&mut self, key: K, place: Place, since: Instant, accounts: Accounts) {
        let name = accounts.first().cloned().unwrap_or_default();
        let joined = self.last;
        let of_account = self.accounts.entry(name).or_insert_with(|| OfAccount {
            ready: BTreeMap::new(),
            last: joined,
            turns: 0,
        });
        let lane = of_account.ready.entry(Arc::clone(&accounts)).or_default();
        lane.insert(place, (key.clone(), since));
        self.keys.insert(key, State::Ready(place, accounts));
    }

    /// Takes a key out of its queue, and returns since when it was due.
    fn withdraw(&mut self, place: Place, accounts: &Accounts) -> Option<Instant> {
        let name = accounts.first().cloned().unwrap_or_default();
        let of_account = self.accounts.get_mut(&name)?;
        let lane = of_account.ready.get_mut(accounts)?;
        let withdrawn = lane.remove(&place);
        if lane.is_empty() {
            of_account.ready.remove(accounts);
        }
        if of_account.ready.is_empty() {
            self.accounts.remove(&name);
        }
        withdrawn.map(|(_, since)| since)
    }

    /// The first key whose visit may begin: the account that did not have a turn for the longest time, and the place among its keys.
    fn first(&self) -> Option<(String, Accounts, Place)> {
        if self.running >= self.slots {
            return None;
        }
        let of_account = |(name, of_account): (&String, &OfAccount<K>)| {
            let lanes = of_account.ready.iter();
            let free = lanes.filter(|(accounts, _)| self.may_use_more(accounts));
            let places = free.flat_map(|(accounts, lane)| {
                let firsts = [Urgency::Change, Urgency::Retry, Urgency::Check].map(|urgency| {
                    let first = (Reverse(urgency), 0)..=(Reverse(urgency), u64::MAX);
                    lane.range(first).next().map(|(place, _)| *place)
                });
                firsts
                    .into_iter()
                    .flatten()
                    .map(move |place| (place, accounts))
            });
            let (place, accounts) = if of_account.turns % OLDEST == OLDEST - 1 {
                places.min_by_key(|((_, number), _)| *number)?
            } else {
                places.min_by_key(|(place, _)| *place)?
            };
            Some((of_account.last, (name.clone(), Arc::clone(accounts), place)))
        };
        let firsts = self.accounts.iter().filter_map(of_account);
        firsts.min_by_key(|(last, _)| *last).map(|(_, first)| first)
    }

    /// Whether the share of none of these accounts is used up.
    fn may_use_more(&self, accounts: &Accounts) -> bool {
        let may_wait = (PAUSED * self.slots).saturating_sub(self.paused);
        let waiting = accounts.first().and_then(|first| self.waiting.get(first));
        if waiting.copied().unwrap_or_default() >= SHARE * may_wait {
            return false;
        }
        let free = self.slots.saturating_sub(self.running);
        let shares = std::iter::once(SHARE).chain(std::iter::repeat(FURTHER_SHARE));
        accounts.iter().zip(shares).all(|(account, share)| {
            let used = self.used.get(account).copied().unwrap_or_default();
            used < share * free
        })
    }

    fn take(&mut self, accounts: &Accounts) {
        self.running += 1;
        for account in accounts.iter() {
            add(&mut self.used, Some(account));
        }
    }

    fn give_back(&mut self, accounts: &Accounts) {
        self.running -= 1;
        for account in accounts.iter() {
            subtract(&mut self.used, Some(account));
        }
    }

    fn end_waiting(&mut self, accounts: &Accounts) {
        self.paused -= 1;
        subtract(&mut self.waiting, accounts.first());
    }
}

fn add(counts: &mut HashMap<String, usize>, account: Option<&String>) {
    if let Some(account) = account {
        *counts.entry(account.clone()).or_default() += 1;
    }
}

/// Accounts of which there is nothing are not kept.
fn subtract(counts: &mut HashMap<String, usize>, account: Option<&String>) {
    let Some(account) = account else {
        return;
    };
    if let Entry::Occupied(mut count) = counts.entry(account.clone()) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use proptest::prelude::*;

    use super::*;

    type Key = (&'static str, usize);

    fn accounts(names: &[&str]) -> Accounts {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn touch(schedule: &mut Schedule<Key>, key: Key, at: Instant, urgency: Urgency) {
        schedule.touch(key, Due { at, urgency }, accounts(&[key.0]));
    }

    impl<K> Schedule<K> {
        /// How many visits are under way, those that wait included.
        fn under_way(&self) -> usize {
            self.running + self.paused
        }
    }

    /// The keys whose visits may begin now.
    fn begun(schedule: &mut Schedule<Key>, now: Instant) -> Vec<Key> {
        let mut begun = vec![];
        while let Next::Visit(key, _) = schedule.next(now) {
            begun.push(key);
        }
        begun
    }

    #[test]
    fn within_an_account_what_is_urgent_goes_first_and_then_what_came_first() {
        let (mut schedule, now) = (Schedule::new(1), Instant::now());
        let urgencies = [Urgency::Check, Urgency::Retry, Urgency::Change];
        for number in 0..6 {
            touch(&mut schedule, ("a", number), now, urgencies[number % 3]);
        }
        let mut order = vec![];
        while let Next::Visit(key, _) = schedule.next(now) {
            order.push(key.1);
            schedule.ended(&key, None);
        }
        // The fourth turn is for the one that came first.
        assert_eq!(order, [2, 5, 1, 0, 4, 3]);
        assert_eq!(schedule.next(now), Next::Wait(None));
    }

    #[test]
    fn what_changes_all_the_time_does_not_keep_checks_from_being_made() {
        let (mut schedule, now) = (Schedule::new(1), Instant::now());
        touch(&mut schedule, ("a", 0), now, Urgency::Check);
        let mut visited = vec![];
        for number in 1..5 {
            touch(&mut schedule, ("a", number), now, Urgency::Change);
            for key in begun(&mut schedule, now) {
                schedule.ended(&key, None);
                visited.push(key.1);
            }
        }
        assert_eq!(visited, [1, 2, 3, 0]);
    }

    #[test]
    fn accounts_take_turns() {
        let (mut schedule, now) = (Schedule::new(1), Instant::now());
        for number in 0..4 {
            touch(&mut schedule, ("a", number), now, Urgency::Change);
        }
        for number in 0..2 {
            touch(&mut schedule, ("b", number), now, Urgency::Check);
        }
        let mut order = String::new();
        while let Next::Visit(key, _) = schedule.next(now) {
            order.push_str(key.0);
            schedule.ended(&key, None);
        }
        assert_eq!(order, "ababaa");
    }

    /// Two accounts whose calls get no answer, and a third one.
    #[test]
    fn accounts_with_slow_visits_leave_slots_to_others() {
        let (mut schedule, now) = (Schedule::new(16), Instant::now());
        for number in 0..100 {
            touch(&mut schedule, ("slow", number), now, Urgency::Change);
        }
        assert_eq!(begun(&mut schedule, now).len(), 12, "alone: three quarters");
        for number in 0..100 {
            touch(&mut schedule, ("late", number), now, Urgency::Change);
        }
        assert_eq!(begun(&mut schedule, now).len(), 3);
        touch(&mut schedule, ("other", 0), now, Urgency::Check);
        assert_eq!(begun(&mut schedule, now), [("other", 0)]);
    }

    /// An account at the destination counts like one at the source.
    #[test]
    fn a_slow_destination_leaves_slots_to_visits_that_do_not_call_it() {
        let (mut schedule, now) = (Schedule::new(16), Instant::now());
        let due = Due {
            at: now,
            urgency: Urgency::Change,
        };
        for (number, source) in ["a", "b", "c", "d"]
            .into_iter()
            .cycle()
            .enumerate()
            .take(100)
        {
            schedule.touch((source, number), due, accounts(&[source, "slow"]));
        }
        assert_eq!(begun(&mut schedule, now).len(), 14);
        schedule.touch(("a", 1_000), due, accounts(&["a", "fast"]));
        assert_eq!(begun(&mut schedule, now), [("a", 1_000)]);
    }

    #[test]
    fn a_slow_source_leaves_slots_to_others_with_the_same_destination() {
        let (mut schedule, now) = (Schedule::new(16), Instant::now());
        let due = Due {
            at: now,
            urgency: Urgency::Change,
        };
        for number in 0..100 {
            schedule.touch(("slow", number), due, accounts(&["slow", "d"]));
        }
        assert_eq!(begun(&mut schedule, now).len(), 12);
        schedule.touch(("other", 0), due, accounts(&["other", "d"]));
        assert_eq!(begun(&mut schedule, now), [("other", 0)]);
    }

    #[test]
    fn a_key_is_visited_once_at_a_time_and_again_if_it_was_touched_meanwhile() {
        let (mut schedule, now) = (Schedule::new(4), Instant::now());
        touch(&mut schedule, ("a", 0), now, Urgency::Check);
        assert_eq!(begun(&mut schedule, now), [("a", 0)]);
        let soon = now + Duration::from_secs(1);
        touch(&mut schedule, ("a", 0), soon, Urgency::Change);
        assert_eq!(schedule.next(soon), Next::Wait(None), "it runs");
        let later = Due {
            at: now + Duration::from_mins(10),
            urgency: Urgency::Check,
        };
        schedule.ended(&("a", 0), Some((later, accounts(&["a"]))));
        assert_eq!(schedule.next(now), Next::Wait(Some(soon)));
        assert_eq!(begun(&mut schedule, soon), [("a", 0)]);
        schedule.ended(&("a", 0), None);
        assert_eq!(schedule.next(later.at), Next::Wait(None));
    }

    #[test]
    fn a_visit_that_waits_leaves_its_slot_to_another() {
        let (mut schedule, now) = (Schedule::new(1), Instant::now());
        for number in 0..3 {
            touch(&mut schedule, ("a", number), now, Urgency::Change);
        }
        assert_eq!(begun(&mut schedule, now), [("a", 0)]);
        schedule.pause(&("a", 0));
        assert_eq!(begun(&mut schedule, now), [("a", 1)]);
        schedule.resume(&("a", 0));
        schedule.ended(&("a", 1), None);
        assert_eq!(begun(&mut schedule, now), [], "the first one goes on");
        schedule.pause(&("a", 0));
        schedule.ended(&("a", 0), None);
        assert_eq!(begun(&mut schedule, now), [("a", 2)]);
        schedule.ended(&("a", 2), None);
        assert_eq!(schedule.under_way(), 0);
    }

    #[test]
    fn visits_that_wait_are_bounded_as_well() {
        let (mut schedule, now) = (Schedule::new(2), Instant::now());
        for number in 0..100 {
            touch(&mut schedule, ("a", number), now, Urgency::Change);
        }
        for number in 0..100 {
            touch(&mut schedule, ("b", number), now, Urgency::Change);
        }
        let mut waiting = BTreeMap::<_, usize>::new();
        while let Next::Visit(key, _) = schedule.next(now) {
            schedule.pause(&key);
            *waiting.entry(key.0).or_default() += 1;
        }
        // The last two places are for a third account.
        assert_eq!(waiting, BTreeMap::from([("a", 7), ("b", 7)]));
        assert_eq!(schedule.under_way(), 2 * PAUSED - 2);
    }

    /// For example for a policy that AWS takes long to write.
    #[test]
    fn an_account_whose_visits_all_wait_leaves_places_to_others() {
        let (mut schedule, now) = (Schedule::new(16), Instant::now());
        for number in 0..1_000 {
            touch(&mut schedule, ("waits", number), now, Urgency::Change);
        }
        let mut waiting = 0;
        while let Next::Visit(key, _) = schedule.next(now) {
            schedule.pause(&key);
            waiting += 1;
        }
        assert_eq!(waiting, 16 * PAUSED * 3 / 4);
        touch(&mut schedule, ("other", 0), now, Urgency::Check);
        assert_eq!(begun(&mut schedule, now), [("other", 0)]);
    }

    #[test]
    fn what_waits_is_told_by_account() {
        let (mut schedule, now) = (Schedule::new(1), Instant::now());
        for number in 0..3 {
            touch(&mut schedule, ("a", number), now, Urgency::Change);
        }
        begun(&mut schedule, now);
        let waited = Duration::from_secs(7);
        let waiting = schedule.waiting(now + waited);
        assert_eq!(waiting, BTreeMap::from([("a".to_owned(), (2, waited))]));
    }

    /// What happens to a schedule.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Touch(usize, u64, Urgency),
        End(usize, Option<u64>),
        Pause(usize),
        Resume(usize),
        Pass(u64),
    }

    const KEYS: [(Key, &[&str]); 8] = [
        (("a", 0), &["a"]),
        (("a", 1), &["a"]),
        (("a", 2), &["a", "b"]),
        (("b", 3), &["b"]),
        (("b", 4), &["b", "a"]),
        (("c", 5), &["c", "b"]),
        (("c", 6), &["c"]),
        (("d", 7), &["d", "a", "b"]),
    ];

    fn event() -> impl Strategy<Value = Event> {
        let urgency = prop_oneof![
            Just(Urgency::Check),
            Just(Urgency::Retry),
            Just(Urgency::Change)
        ];
        let key = 0..KEYS.len();
        prop_oneof![
            4 => (key.clone(), 0..20_u64, urgency).prop_map(|(key, at, urgency)| Event::Touch(key, at, urgency)),
            4 => (key.clone(), prop::option::of(0..20_u64)).prop_map(|(key, again)| Event::End(key, again)),
            1 => key.clone().prop_map(Event::Pause),
            1 => key.prop_map(Event::Resume),
            2 => (1..10_u64).prop_map(Event::Pass),
        ]
    }

    /// A schedule, and what is known to be true of it.
    struct Checked {
        schedule: Schedule<Key>,
        now: Instant,
        slots: usize,
        running: BTreeMap<Key, bool>,
        due: HashMap<Key, Instant>,
    }

    impl Checked {
        fn begin(&mut self) {
            while let Next::Visit(key, _) = self.schedule.next(self.now) {
                let due = self.due.remove(&key).expect("it was touched");
                assert!(due <= self.now, "{key:?} is visited too early");
                let before = self.running.insert(key, false);
                assert_eq!(before, None, "{key:?} is visited twice at once");
                let used = self.running.values().filter(|is_paused| !**is_paused);
                assert!(used.count() <= self.slots, "a visit began without a slot");
            }
        }

        fn touch(&mut self, number: usize, seconds: u64, urgency: Urgency) {
            let (key, names) = KEYS[number];
            let at = self.now + Duration::from_secs(seconds);
            let due = self.due.entry(key).or_insert(at);
            *due = at.min(*due);
            self.schedule
                .touch(key, Due { at, urgency }, accounts(names));
        }

        fn happens(&mut self, event: Event) {
            match event {
                Event::Touch(number, seconds, urgency) => self.touch(number, seconds, urgency),
                Event::End(number, again) => {
                    let (key, names) = KEYS[number];
                    if self.running.remove(&key).is_none() {
                        return;
                    }
                    let again = again.map(|seconds| {
                        let at = self.now + Duration::from_secs(seconds);
                        let due = self.due.entry(key).or_insert(at);
                        *due = at.min(*due);
                        let urgency = Urgency::Check;
                        (Due { at, urgency }, accounts(names))
                    });
                    self.schedule.ended(&key, again);
                }
                Event::Pause(number) => {
                    if let Some(is_paused) = self.running.get_mut(&KEYS[number].0) {
                        *is_paused = true;
                        self.schedule.pause(&KEYS[number].0);
                    }
                }
                Event::Resume(number) => {
                    if let Some(is_paused) = self.running.get_mut(&KEYS[number].0) {
                        *is_paused = false;
                        self.schedule.resume(&KEYS[number].0);
                    }
                }
                Event::Pass(seconds) => self.now += Duration::from_secs(seconds),
            }
            self.begin();
        }
    }

    proptest! {
        /// Whatever happened: every key that is due is visited as soon as enough visits end, and in the end nothing is left over.
        #[test]
        fn nothing_waits_forever(events in prop::collection::vec(event(), 0..80), slots in 1..5_usize) {
            let now = Instant::now();
            let (schedule, running, due) = (Schedule::new(slots), BTreeMap::new(), HashMap::new());
            let mut checked = Checked { schedule, now, slots, running, due };
            for event in events {
                checked.happens(event);
            }
            checked.now += Duration::from_secs(20);
            checked.begin();
            let mut rounds = 0;
            while !checked.due.is_empty() || !checked.running.is_empty() {
                prop_assert!(!checked.running.is_empty(), "{:?} is due, and nothing runs", checked.due);
                prop_assert!(rounds < KEYS.len() * 2, "{:?}", checked.schedule);
                rounds += 1;
                let first = checked.running.keys().next().copied().expect("one runs");
                checked.happens(Event::End(first.1, None));
            }
            prop_assert_eq!(checked.schedule.next(checked.now), Next::Wait(None));
            prop_assert_eq!(checked.schedule.under_way(), 0);
            prop_assert!(checked.schedule.used.is_empty() && checked.schedule.waiting.is_empty() && checked.schedule.accounts.is_empty() && checked.schedule.keys.is_empty());
        }

        /// An account with a thousand keys, each of whose visits takes half a minute: the keys of other accounts are visited as if it did not exist.
        #[test]
        fn a_flooded_account_does_not_delay_others(arrivals in prop::collection::vec((0..3_usize, 0..300_u64), 1..60), urgent in any::<bool>()) {
            let start = Instant::now();
            let mut schedule = Schedule::new(16);
            let flood = if urgent { Urgency::Change } else { Urgency::Check };
            for number in 0..1_000 {
                touch(&mut schedule, ("flooded", number), start, flood);
            }
            let names = ["x", "y", "z"];
            let mut due = HashMap::new();
            for (number, (account, second)) in arrivals.iter().enumerate() {
                let at = start + Duration::from_secs(*second);
                touch(&mut schedule, (names[*account], number), at, Urgency::Change);
                due.insert((names[*account], number), at);
            }
            let mut ends: BTreeSet<(Instant, Key)> = BTreeSet::new();
            let mut visited = HashSet::new();
            let mut now = start;
            while !due.keys().all(|key| visited.contains(key)) {
                while let Next::Visit(key, _) = schedule.next(now) {
                    let is_flooded = key.0 == "flooded";
                    ends.insert((now + Duration::from_secs(if is_flooded { 30 } else { 1 }), key));
                    if let Some(due) = due.get(&key) {
                        let waited = now.duration_since(*due);
                        // At most 60 arrive at once, and at least 3 of their visits run at once.
                        prop_assert!(waited <= Duration::from_secs(20), "{key:?} waited {waited:?}");
                        visited.insert(key);
                    }
                }
                now += Duration::from_millis(500);
                while let Some((end, key)) = ends.first().copied().filter(|(end, _)| *end <= now) {
                    ends.remove(&(end, key));
                    schedule.ended(&key, None);
                }
            }
        }
    }
}
