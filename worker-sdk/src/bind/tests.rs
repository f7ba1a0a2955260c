//! Binds that run at the same time, in every order in which their messages can reach the gateways.
//!
//! A gateway does one request at a time, so what can happen is which request comes next, of all that
//! are on their way; what one bind sends to one gateway stays in its order. The gateways are those of
//! the test entrance; their rule is the real one's.
//!
//! In an outage a request, or its answer, may be lost, or come late: then the bind is told an error.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::oneshot;
use wire::{AnswerError, ConnId, GatewayId, TargetKind};

use super::*;
use crate::testing::Hub;

const GATEWAYS: u8 = 2;

/// Something that is on its way.
enum Step {
    Request {
        gateway: usize,
        conn: Option<ConnId>,
        request: Box<Request>,
        /// None: nobody waits for it any more.
        answer: Option<oneshot::Sender<Option<Answer>>>,
    },
    Pause {
        /// How many requests had been done when it began.
        since: usize,
        over: oneshot::Sender<()>,
    },
}

/// The gateways, and what is on its way to them.
struct World {
    hubs: Vec<Hub>,
    steps: Mutex<Vec<(usize, Step)>>,
    done: Mutex<usize>,
    /// What goes on by itself.
    insisting: Mutex<Vec<Insisting>>,
    tickets: Mutex<Tickets>,
    again: Mutex<usize>,
    /// The bind whose process has died: it does not even insist.
    dead: Mutex<Option<usize>>,
}

type Insisting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How tickets are drawn.
#[derive(Clone, Copy, Debug)]
enum Tickets {
    /// The next one: then those of two binds may be the same, and their ids decide.
    Next,
    /// As it really is: no two are the same. So many were drawn.
    Apart(u64),
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Done,
    /// It does not arrive.
    Lost,
    /// It is done, and the answer does not arrive.
    Unheard,
    /// It is done later on, when nobody waits for it any more.
    Late,
}

/// One bind's way to the gateways.
struct Binder {
    world: Arc<World>,
    number: usize,
    client: ClientId,
}

impl Binder {
    fn put(
        &self,
        gateway: usize,
        conn: Option<ConnId>,
        command: Command,
    ) -> oneshot::Receiver<Option<Answer>> {
        let (answer, answered) = oneshot::channel();
        let step = Step::Request {
            gateway,
            conn,
            request: Box::new(Request::command(command)),
            answer: Some(answer),
        };
        self.world.steps.lock().unwrap().push((self.number, step));
        answered
    }

    fn home(&self) -> usize {
        usize::from(self.client.gateway.as_bytes()[0])
    }
}

impl Parties for Binder {
    async fn everybody(&self, command: Command) -> Result<Vec<Answer>, Error> {
        let gateways = 0..self.world.hubs.len();
        let calls: Vec<_> = gateways
            .map(|g| self.put(g, None, command.clone()))
            .collect();
        let mut answers = Vec::new();
        // All are waited for, and who gave no answer is an error.
        let mut silent = false;
        for call in calls {
            match call.await {
                Ok(answer) => answers.extend(answer),
                Err(_) => silent = true,
            }
        }
        match silent {
            true => Err(no_answer()),
            false => Ok(answers),
        }
    }

    async fn own(&self, command: Command) -> Result<u64, Error> {
        let call = self.put(self.home(), Some(self.client.conn), command);
        let answer = call.await.map_err(|_| no_answer())?.unwrap();
        match answer.error {
            None => Ok(answer.count),
            Some(AnswerError::NoClient) => Ok(0),
            Some(AnswerError::Conflict) => Err(Error::conflict(0)),
            Some(other) => panic!("{other:?}"),
        }
    }

    fn tell(&self, command: Command) -> Result<(), Error> {
        drop(self.put(self.home(), Some(self.client.conn), command));
        Ok(())
    }

    fn ticket(&self, above: u64) -> u64 {
        match &mut *self.world.tickets.lock().unwrap() {
            Tickets::Next => above + 1,
            Tickets::Apart(drawn) => {
                *drawn += 1;
                (above / 1024 + 1) * 1024 + *drawn
            }
        }
    }

    fn insist(&self, command: Command) {
        if *self.world.dead.lock().unwrap() == Some(self.number) {
            return;
        }
        let binder = Self {
            world: self.world.clone(),
            ..*self
        };
        let insisting = async move {
            while binder.own(command.clone()).await.is_err() {
                let _ = binder.pause().await;
            }
        };
        let mut all = self.world.insisting.lock().unwrap();
        all.push(Box::pin(insisting));
    }

    async fn pause(&self) -> Result<(), Error> {
        let (over, is_over) = oneshot::channel();
        let since = *self.world.done.lock().unwrap();
        let step = (self.number, Step::Pause { since, over });
        self.world.steps.lock().unwrap().push(step);
        is_over.await.map_err(|_| no_answer())
    }
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Timeout, "no answer")
}

type Running = Pin<Box<dyn Future<Output = Result<Bound, Error>>>>;

/// A set of binds, and who had the uid before.
#[derive(Clone, Debug)]
struct Scene {
    /// On which gateway, and by which policy.
    binds: Vec<(u8, Policy)>,
    before: Before,
    /// This bind ends after so many of its requests were done: its process dies.
    dies: Option<(usize, usize)>,
    /// Its process does not: whoever waited has let go of it.
    lives_on: bool,
    /// So many requests meet with an outage.
    losses: usize,
    /// Who is told of an error tries again at once.
    again: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    Nobody,
    /// A client of gateway 0, by no policy.
    Bound,
    /// A client of gateway 0, by this policy.
    Settled(Policy),
}

struct Outcome {
    /// Whom each bind was for, and what it said; `None` if it died.
    binds: Vec<(ClientId, Option<Said>)>,
    before: Option<ClientId>,
    holders: Vec<ClientId>,
    /// Everybody who was closed.
    closed: Vec<ClientId>,
    /// How often a bind was tried again.
    again: usize,
}

/// What a bind said, or that it does not know.
type Said = Result<Bound, ErrorKind>;

fn uid() -> Uid {
    Uid::new("42").unwrap()
}

fn id(gateway: u8, conn: u32) -> ClientId {
    ClientId {
        gateway: GatewayId::from_bytes([gateway, 0, 0, 0, 0, 0]),
        conn: ConnId(conn),
    }
}

impl Scene {
    fn new(binds: &[(u8, Policy)], before: Before) -> Self {
        Self {
            binds: binds.to_vec(),
            before,
            dies: None,
            lives_on: false,
            losses: 0,
            again: false,
        }
    }

    /// Plays it once. `choose` says which of so many steps comes next.
    fn play(&self, choose: &mut dyn FnMut(usize) -> usize) -> Outcome {
        let hub = |n| Hub::of(id(n, 0).gateway);
        let world = Arc::new(World {
            hubs: (0..GATEWAYS).map(hub).collect(),
            steps: Mutex::default(),
            done: Mutex::new(0),
            insisting: Mutex::default(),
            tickets: Mutex::new(match self.losses {
                0 => Tickets::Next,
                _ => Tickets::Apart(0),
            }),
            again: Mutex::default(),
            dead: Mutex::default(),
        });
        let seat = |client: ClientId| {
            world.hubs[usize::from(client.gateway.as_bytes()[0])].seat(client, |_| ());
        };
        let before = (self.before != Before::Nobody).then(|| id(0, 100));
        if let Some(client) = before {
            seat(client);
            match self.before {
                Before::Settled(policy) => {
                    let mut alone = vec![start(&world, 9, client, policy)];
                    assert!(matches!(
                        go(&world, &mut alone, None, 0, &mut |_| 0)[0],
                        Some(Ok(Bound::Yes { .. }))
                    ));
                }
                _ => world.hubs[0].seat(client, |seat| seat.uid = Some(uid())),
            }
        }
        *world.done.lock().unwrap() = 0;
        let clients: Vec<_> = (0..)
            .zip(&self.binds)
            .map(|(n, (gateway, _))| id(*gateway, n))
            .collect();
        clients.iter().copied().for_each(seat);
        let binds = (0..).zip(&clients).zip(&self.binds);
        let mut running: Vec<_> = binds
            .map(|((n, client), (_, policy))| match self.again {
                true => start_again(&world, n, *client, *policy),
                false => start(&world, n, *client, *policy),
            })
            .collect();
        if let Some((dying, _)) = self.dies.filter(|_| !self.lives_on) {
            *world.dead.lock().unwrap() = Some(dying);
        }
        let said = go(&world, &mut running, self.dies, self.losses, choose);
        let (mut holders, mut closed) = (Vec::new(), Vec::new());
        for client in clients.iter().copied().chain(before) {
            let hub = &world.hubs[usize::from(client.gateway.as_bytes()[0])];
            hub.seat(client, |seat| {
                if !seat.is_there() {
                    assert_eq!(seat.closed.as_ref().map(|c| c.code), Some(4009));
                    closed.push(client);
                } else if seat.uid.is_some() {
                    holders.push(client);
                }
            });
        }
        Outcome {
            binds: clients.into_iter().zip(said).collect(),
            before,
            holders,
            closed,
            again: *world.again.lock().unwrap(),
        }
    }

    /// Plays it in every order; says in how many.
    fn exhaust(&self, check: impl Fn(&Self, &Outcome)) -> usize {
        let mut path: Vec<(usize, usize)> = Vec::new();
        let mut plays = 0;
        loop {
            let mut depth = 0;
            let outcome = self.play(&mut |many| {
                if depth == path.len() {
                    path.push((0, many));
                }
                let (chosen, known) = path[depth];
                assert_eq!(known, many, "the same choices lead to the same place");
                depth += 1;
                chosen
            });
            check(self, &outcome);
            plays += 1;
            while let Some((chosen, many)) = path.pop() {
                if chosen + 1 < many {
                    path.push((chosen + 1, many));
                    break;
                }
            }
            if path.is_empty() {
                return plays;
            }
        }
    }
}

fn start(world: &Arc<World>, number: usize, client: ClientId, policy: Policy) -> Option<Running> {
    let binder = Binder {
        world: world.clone(),
        number,
        client,
    };
    Some(Box::pin(async move {
        alone(&binder, client, &uid(), policy).await
    }))
}

/// The same, which tries until it is told something.
fn start_again(
    world: &Arc<World>,
    number: usize,
    client: ClientId,
    policy: Policy,
) -> Option<Running> {
    let world = world.clone();
    Some(Box::pin(async move {
        loop {
            let once = start(&world, number, client, policy).expect("it begins");
            if let Ok(bound) = once.await {
                return Ok(bound);
            }
            *world.again.lock().unwrap() += 1;
        }
    }))
}

/// Lets the binds run until nothing is left to do.
fn go(
    world: &Arc<World>,
    running: &mut [Option<Running>],
    dies: Option<(usize, usize)>,
    mut losses: usize,
    choose: &mut dyn FnMut(usize) -> usize,
) -> Vec<Option<Said>> {
    let mut said = vec![None; running.len()];
    let mut of_dying = 0;
    loop {
        for (bind, said) in running.iter_mut().zip(&mut said) {
            let mut cx = Context::from_waker(Waker::noop());
            if let Some(future) = bind
                && let Poll::Ready(bound) = future.as_mut().poll(&mut cx)
            {
                *said = Some(bound.map_err(|error| error.kind()));
                *bind = None;
            }
        }
        let insisting = std::mem::take(&mut *world.insisting.lock().unwrap());
        for mut future in insisting {
            let mut cx = Context::from_waker(Waker::noop());
            if future.as_mut().poll(&mut cx).is_pending() {
                world.insisting.lock().unwrap().push(future);
            }
        }
        if let Some((dying, after)) = dies
            && of_dying == after
            && running[dying].take().is_some()
        {
            // What it has sent is on its way all the same.
            let mut steps = world.steps.lock().unwrap();
            steps.retain(|(number, step)| *number != dying || matches!(step, Step::Request { .. }));
        }
        let done = *world.done.lock().unwrap();
        let mut steps = world.steps.lock().unwrap();
        // A pause ends when others have gone on; it would only see the same again.
        let ready = |n: &usize| {
            match &steps[*n] {
            (number, Step::Request { gateway, .. }) => steps[..*n].iter().all(|before| {
                !matches!(before, (other, Step::Request { gateway: g, .. }) if other == number && g == gateway)
            }),
            (_, Step::Pause { since, .. }) => done > *since,
        }
        };
        let mut ready: Vec<usize> = (0..steps.len()).filter(ready).collect();
        if ready.is_empty() {
            if steps.is_empty() {
                return said;
            }
            // Time goes on: what died lapses, and who waits looks again.
            let dead = *world.dead.lock().unwrap();
            if let Some(dead) = dead.filter(|dying| running[*dying].is_none()) {
                lapse(world, dead);
            }
            ready = vec![0];
        }
        assert!(done < 200, "they wait for each other");
        let at = ready[choose(ready.len())];
        let waited_for = matches!(
            &steps[at].1,
            Step::Request {
                answer: Some(_),
                ..
            }
        );
        let fate = match waited_for && losses > 0 {
            true => [Fate::Done, Fate::Lost, Fate::Unheard, Fate::Late][choose(4)],
            false => Fate::Done,
        };
        losses -= usize::from(!matches!(fate, Fate::Done));
        if let (Fate::Late, Step::Request { answer, .. }) = (fate, &mut steps[at].1) {
            *answer = None;
            continue;
        }
        let (number, step) = steps.remove(at);
        drop(steps);
        match step {
            Step::Request { .. } if matches!(fate, Fate::Lost) => {}
            Step::Request {
                gateway,
                conn,
                request,
                answer,
            } => {
                *world.done.lock().unwrap() += 1;
                of_dying += usize::from(dies.is_some_and(|(dying, _)| dying == number));
                let kind = conn.map_or(TargetKind::All, |_| TargetKind::Client);
                let conn = conn.map(|conn| conn.to_string());
                let given = world.hubs[gateway].request(kind, conn.as_deref(), &request);
                if let (Fate::Done, Some(answer)) = (fate, answer) {
                    // Nobody waits for what was only told.
                    let _ = answer.send(given);
                }
            }
            Step::Pause { over, .. } => over.send(()).unwrap(),
        }
    }
}

/// The time of a claim is over whose process has died; its number is that of its connection.
fn lapse(world: &World, dead: usize) {
    for hub in &world.hubs {
        for ticket in 0..10 {
            hub.claims()
                .take(ConnId(u32::try_from(dead).expect("few")), &uid(), ticket);
        }
    }
}

use Policy::{KickOld, RejectNew};

/// Exactly one has the uid, and everybody was told what is so.
fn exactly_one(scene: &Scene, outcome: &Outcome) {
    let [holder] = outcome.holders[..] else {
        panic!(
            "{scene:?}: {:?} have it, binds said {:?}",
            outcome.holders, outcome.binds
        );
    };
    let kicks = scene.binds.iter().any(|(_, policy)| *policy == KickOld);
    if let Some(before) = outcome.before {
        assert_eq!(
            holder == before,
            !kicks,
            "{scene:?}: the first stays, or goes"
        );
    }
    for ((_, policy), (client, said)) in scene.binds.iter().zip(&outcome.binds) {
        let said = said.expect("nobody dies").expect("no outage");
        let is_closed = outcome.closed.contains(client);
        if *client == holder {
            assert!(said.is_bound(), "{scene:?}: {said:?}");
            continue;
        }
        match (policy, said) {
            // Bound, and kicked by a newer one a moment later; or before it was done.
            (KickOld, Bound::Yes { .. } | Bound::Overtaken | Bound::Gone) => assert!(is_closed),
            (RejectNew, Bound::Rejected) => assert!(!is_closed),
            (RejectNew, Bound::Yes { .. } | Bound::Gone) => assert!(is_closed && kicks),
            _ => panic!("{scene:?}: {policy:?} was told {said:?}"),
        }
    }
}

#[test]
fn of_two_binds_in_any_order_exactly_one_stays() {
    let mut plays = 0;
    for (one, other) in [
        (KickOld, KickOld),
        (RejectNew, RejectNew),
        (KickOld, RejectNew),
    ] {
        plays += Scene::new(&[(0, one), (1, other)], Before::Nobody).exhaust(exactly_one);
    }
    assert!(plays > 100_000, "{plays}");
}

#[test]
fn somebody_who_had_the_uid_stays_or_goes_as_the_policy_says() {
    let mut rng = StdRng::seed_from_u64(7);
    for before in [
        Before::Bound,
        Before::Settled(KickOld),
        Before::Settled(RejectNew),
    ] {
        for policy in [KickOld, RejectNew] {
            let scene = Scene::new(&[(1, policy), (0, policy)], before);
            for _ in 0..2_000 {
                let outcome = scene.play(&mut |many| rng.random_range(0..many));
                exactly_one(&scene, &outcome);
            }
        }
    }
}

#[test]
fn of_three_binds_in_many_orders_exactly_one_stays() {
    let mut rng = StdRng::seed_from_u64(42);
    for _ in 0..20_000 {
        let policies = [KickOld, RejectNew];
        let mut bind = || {
            (
                rng.random_range(0..GATEWAYS),
                policies[rng.random_range(0..2)],
            )
        };
        let binds = [bind(), bind(), bind()];
        let before = [Before::Nobody, Before::Bound, Before::Settled(KickOld)];
        let scene = Scene::new(&binds, before[rng.random_range(0..3)]);
        let outcome = scene.play(&mut |many| rng.random_range(0..many));
        exactly_one(&scene, &outcome);
    }
}

#[test]
fn a_bind_after_another_is_newer_whatever_their_ids() {
    for gateways in [[0, 1], [1, 0], [0, 0]] {
        for policy in [KickOld, RejectNew] {
            let scene = Scene::new(&gateways.map(|gateway| (gateway, policy)), Before::Nobody);
            // The first step is always that of the first, until it is done.
            let outcome = scene.play(&mut |_| 0);
            exactly_one(&scene, &outcome);
            // With both running there is no saying who is newer; begun one after the other there is.
            let before = Scene::new(&[(gateways[1], policy)], Before::Settled(policy));
            let outcome = before.play(&mut |_| 0);
            let newer = outcome.binds[0].0;
            let stays = match policy {
                KickOld => newer,
                RejectNew => outcome.before.unwrap(),
            };
            assert_eq!(outcome.holders, [stays]);
        }
    }
}

#[test]
fn a_bind_whose_process_dies_is_never_one_of_two_and_blocks_nobody() {
    let mut rng = StdRng::seed_from_u64(9);
    for policy in [KickOld, RejectNew] {
        for after in 0..6 {
            let scene = Scene {
                dies: Some((0, after)),
                ..Scene::new(&[(0, policy), (1, policy)], Before::Nobody)
            };
            for _ in 0..2_000 {
                let outcome = scene.play(&mut |many| rng.random_range(0..many));
                let said = outcome.binds[1].1.expect("it lives").expect("no outage");
                let holders = outcome.holders;
                assert!(holders.len() <= 1, "{scene:?}: {holders:?}");
                // By the other policy it may have been closed for the sake of the one that died.
                if policy == RejectNew {
                    assert_eq!(holders.len(), 1, "{scene:?}: it said {said:?}");
                }
            }
        }
    }
}

/// Nobody has the uid who was told that it may not be so, no two have it, and who was told that it has
/// it has it, unless it was kicked.
fn told_what_is_so(scene: &Scene, outcome: &Outcome) {
    let holders = &outcome.holders;
    let kicks = scene.binds.iter().any(|(_, policy)| *policy == KickOld);
    assert!(holders.len() <= 1, "{scene:?}: {holders:?} have it");
    for (client, said) in &outcome.binds {
        let said = said.expect("nobody dies");
        let has_it = holders.contains(client);
        match said {
            Ok(Bound::Yes { .. }) if kicks => {
                assert!(has_it || outcome.closed.contains(client), "{scene:?}");
            }
            Ok(Bound::Yes { .. }) => assert!(has_it, "{scene:?}: {client:?} was told so"),
            Ok(_) | Err(_) => assert!(!has_it, "{scene:?}: {client:?} was told {said:?}"),
        }
    }
}

#[test]
fn who_is_told_of_an_error_has_not_the_uid_wherever_the_outage_falls() {
    for policy in [KickOld, RejectNew] {
        let scene = Scene {
            losses: 3,
            ..Scene::new(&[(1, policy)], Before::Nobody)
        };
        let plays = scene.exhaust(told_what_is_so);
        assert!(plays > 500, "{plays}");
    }
}

#[test]
fn in_an_outage_two_binds_and_who_had_the_uid_are_told_what_is_so() {
    let mut rng = StdRng::seed_from_u64(11);
    for _ in 0..10_000 {
        let policies = [KickOld, RejectNew];
        let mut bind = || {
            (
                rng.random_range(0..GATEWAYS),
                policies[rng.random_range(0..2)],
            )
        };
        let binds = [bind(), bind()];
        let before = [
            Before::Nobody,
            Before::Settled(KickOld),
            Before::Settled(RejectNew),
        ];
        let scene = Scene {
            losses: rng.random_range(1..5),
            ..Scene::new(&binds, before[rng.random_range(0..3)])
        };
        let outcome = scene.play(&mut |many| rng.random_range(0..many));
        told_what_is_so(&scene, &outcome);
    }
}

/// A second try of the same client may overtake what takes the first one back.
#[test]
fn taking_a_failed_attempt_back_does_not_undo_the_next_one() {
    let mut rng = StdRng::seed_from_u64(12);
    let mut again = 0;
    for _ in 0..5_000 {
        let policy = [KickOld, RejectNew][rng.random_range(0..2)];
        let scene = Scene {
            losses: 2,
            again: true,
            ..Scene::new(&[(0, policy)], Before::Nobody)
        };
        let outcome = scene.play(&mut |many| rng.random_range(0..many));
        told_what_is_so(&scene, &outcome);
        again += usize::from(outcome.again > 0);
    }
    assert!(again > 200, "{again}");
}

#[test]
fn a_bind_that_is_dropped_gives_nobody_the_uid_and_blocks_nobody() {
    let mut rng = StdRng::seed_from_u64(13);
    for policy in [KickOld, RejectNew] {
        // All that a bind without a rival asks for: six requests.
        for after in 0..7 {
            let scene = Scene {
                dies: Some((0, after)),
                lives_on: true,
                ..Scene::new(&[(0, policy), (1, policy)], Before::Nobody)
            };
            for _ in 0..500 {
                let outcome = scene.play(&mut |many| rng.random_range(0..many));
                let [(dropped, said), (other, _)] = outcome.binds[..] else {
                    panic!("two binds");
                };
                let holders = &outcome.holders;
                assert!(holders.len() <= 1, "{scene:?}: {holders:?}");
                if said.is_none() {
                    assert!(!holders.contains(&dropped), "{scene:?}");
                    // By the other policy it may have been closed, or told that it lost, for its sake.
                    let is_closed = outcome.closed.contains(&other);
                    assert!(policy == RejectNew || is_closed || *holders == [other]);
                }
            }
        }
    }
}
