//! Lists of all gateways, page by page.

use wire::{Answer, Request};

use super::bus::{Bus, Gaps, Gathered, Reply};

/// Asks all gateways for a list, whose pages after the first come from each gateway's own subject.
/// `page` asks for the one behind another, `take` gets each and says whether more is wanted. Returns
/// who did not answer.
pub(super) async fn pages(
    bus: &mut Bus,
    page: impl Fn(Option<&Answer>) -> Request,
    mut take: impl FnMut(&mut Answer) -> bool,
) -> Gaps {
    let Gathered { answers, mut gaps } = bus.ask_all(&page(None)).await;
    for (gateway, mut answer) in answers {
        while take(&mut answer) && !is_last(&answer) {
            let subject = bus.subjects.gateway(gateway);
            match bus.ask_one(&subject, &page(Some(&answer))).await {
                Some(Reply::Answer(next)) => match next.error {
                    None if comes_after(&next, &answer) => answer = next,
                    None => {
                        gaps.repeats(gateway);
                        break;
                    }
                    Some(error) => {
                        gaps.refused(gateway, error);
                        break;
                    }
                },
                Some(Reply::Nobody) | None => {
                    gaps.silent(gateway);
                    break;
                }
            }
        }
    }
    gaps
}

fn is_last(page: &Answer) -> bool {
    page.next.is_none() && page.next_name.is_none()
}

/// Whether a page is the last, or leads beyond the one before it.
fn comes_after(page: &Answer, before: &Answer) -> bool {
    // a name that goes on comes before the end of it
    let place = |answer: &Answer| {
        let within = answer.next_within;
        (
            answer.next,
            answer.next_name.clone(),
            within.is_none(),
            within,
        )
    };
    is_last(page) || place(page) > place(before)
}
