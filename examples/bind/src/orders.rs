//! The users' data: a few orders each, and how far they are.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

/// What a page is sent.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum News {
    /// Everything of one user.
    Orders {
        user: &'static str,
        orders: Vec<Order>,
    },
    /// One order has changed.
    Order { order: Order },
}

/// One order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Order {
    id: u32,
    what: &'static str,
    /// How far it is, from 0 to 3; the page has the words.
    step: u8,
}

/// How many steps there are.
const STEPS: u8 = 4;

/// All orders, by user.
pub(crate) struct Orders(Mutex<HashMap<&'static str, Vec<Order>>>);

impl Default for Orders {
    fn default() -> Self {
        let order = |id, what, step| Order { id, what, step };
        let orders = HashMap::from([
            (
                "ann",
                vec![order(101, "Garden chair", 1), order(102, "Tea, 500 g", 0)],
            ),
            (
                "bob",
                vec![order(201, "Bicycle bell", 2), order(202, "Lamp", 0)],
            ),
        ]);
        Self(Mutex::new(orders))
    }
}

impl Orders {
    /// Everything of one user.
    pub(crate) fn of(&self, user: &'static str) -> News {
        let orders = self.lock().get(user).cloned().unwrap_or_default();
        News::Orders { user, orders }
    }

    /// Takes an order one step on, and after the last to the first; `None` if the user has no such order.
    pub(crate) fn advance(&self, user: &str, id: u32) -> Option<News> {
        let mut all = self.lock();
        let order = all.get_mut(user)?.iter_mut().find(|o| o.id == id)?;
        order.step = (order.step + 1) % STEPS;
        Some(News::Order {
            order: order.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, Vec<Order>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_owner_takes_an_order_on() {
        let orders = Orders::default();
        assert_eq!(orders.advance("bob", 101), None);
        let news = serde_json::to_value(orders.advance("ann", 101)).unwrap();
        assert_eq!(news["order"]["step"], 2);
        for step in [3, 0] {
            let news = serde_json::to_value(orders.advance("ann", 101)).unwrap();
            assert_eq!(news["order"]["step"], step);
        }
    }
}
