//! Looks that a person in the host's shell asks for: the tables of the guests as they are now. They
//! are no part of the scenario, and not in the log.

use super::{nonce::nonce, operator::Operator, session::Session, stages::Stop, steps::NO_LOOKS};
use crate::host::{
    HostError, Target,
    deadlines::Deadline,
    link::{LinkError, LookRequest, ending},
};
use s2lab_model::{diagnostic::suggest, escape, event::PlannedCell, hash::digest, tables::LookTables};
use s2lab_os::waits::timeout;
use s2lab_protocol::{
    GuestEnd,
    ask::{Hold, LookEnd, Release, ShowTables},
};
use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
    time::Duration,
};

/// The name of such a look.
const NAME: &str = "now";

/// The reason why there is no look at a guest.
#[derive(Debug, thiserror::Error)]
enum NoLook {
    #[error("it has ended: {}", ending(.0))]
    Ended(GuestEnd),
    #[error("it has not come up")]
    NotUp,
    #[error("it is busy: it has not answered `{0}`")]
    Busy(&'static str),
    #[error("{NO_LOOKS}")]
    Impossible,
    #[error("it was not done in {0:?}")]
    Late(Duration),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("{0}")]
    Nonce(Stop),
}

impl Session<'_> {
    /// Waits for the end of `shell`, and takes the looks that are asked for meanwhile. A newer
    /// request ends the look before it, which its person has left.
    pub(super) async fn serve_looks<T>(
        &mut self,
        planned: &PlannedCell,
        operator: &Operator,
        shell: impl Future<Output = T>,
    ) -> T {
        let mut shell = pin!(shell);
        let mut requests = self.link.look_requests();
        let mut request = None;
        loop {
            let (done, newer) = tokio::select! {
                biased;
                done = &mut shell => (Some(done), None),
                newer = requests.next() => (None, Some(newer)),
                answered = self.answer_look(planned, operator, request.as_ref()) => {
                    // Without an agent that takes the answer nobody reads it.
                    if let Err(error) = answered {
                        tracing::debug!("a look of {}: {error}", planned.key);
                    }
                    request = None;
                    continue;
                }
            };
            if request.is_some() {
                // The look was dropped. A machine that has ended need not run on.
                let _ = self.host.resume().await;
            }
            if let Some(done) = done {
                return done;
            }
            request = newer;
        }
    }

    /// Answers a request; without one it never ends.
    async fn answer_look(
        &mut self,
        planned: &PlannedCell,
        operator: &Operator,
        request: Option<&LookRequest>,
    ) -> Result<(), LinkError> {
        let Some(LookRequest { id, guest }) = request else { return std::future::pending().await };
        let id = *id;
        // The command waits for the first part for a short time only.
        self.show(id, "", None).await?;
        let guests = planned.resolved.guests.keys();
        let mut end = LookEnd::Done;
        match guest {
            Some(guest) if !planned.resolved.guests.contains_key(guest) => {
                let known = suggest(guest, guests.map(String::as_str));
                self.show(id, &format!("there is no guest `{guest}`: {known}\n"), None).await?;
                end = LookEnd::Failed;
            }
            chosen => {
                for guest in guests.filter(|name| chosen.as_ref().is_none_or(|chosen| chosen == *name)) {
                    let text = match self.look_now(guest).await {
                        Ok(tables) => operator.show(&planned.key, &tables),
                        Err(why) => {
                            end = LookEnd::Failed;
                            format!("no look at guest {guest}: {}\n", escape::line(&why.to_string()))
                        }
                    };
                    self.show(id, &text, None).await?;
                }
            }
        }
        self.show(id, "", Some(end)).await
    }

    /// Passes a text on in parts that fit into frames.
    async fn show(&mut self, id: u64, text: &str, end: Option<LookEnd>) -> Result<(), LinkError> {
        let mut rest = text;
        loop {
            let (part, after) = rest.split_at(rest.floor_char_boundary(ShowTables::LONGEST));
            let part = ShowTables { id, text: part.to_owned(), end: end.filter(|_| after.is_empty()) };
            self.link.ask_host(part, self.deadlines.of(Deadline::Request)).await?;
            if after.is_empty() {
                return Ok(());
            }
            rest = after;
        }
    }

    /// Looks at a guest that is idle or holding. Afterwards it is idle.
    async fn look_now(&mut self, guest: &str) -> Result<LookTables, NoLook> {
        if let Some(how) = self.link.guest_ended(guest) {
            return Err(NoLook::Ended(how));
        }
        if !self.link.is_up(guest) {
            return Err(NoLook::NotUp);
        }
        if let Some(what) = self.link.unanswered(guest) {
            return Err(NoLook::Busy(what));
        }
        let request = self.deadlines.of(Deadline::Request);
        // A look that was not finished has left the guest holding.
        match self.link.ask_guest(guest, Release {}, request).await {
            Ok(()) | Err(LinkError::Failed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let nonce = nonce().map_err(NoLook::Nonce)?;
        let held = self.link.ask_guest(guest, Hold { nonce }, request).await?;
        let (mappings, beside) = (held.mappings, BTreeMap::new());
        let target = Target { name: NAME, guest, nonce, vcpus: 1, mappings, beside, vmas: vec![] };
        let tables = self.tables_of(target).await;
        if tables.is_err() {
            self.host.resume().await?;
        }
        let released = self.link.ask_guest(guest, Release {}, request).await;
        let tables = tables?;
        released?;
        Ok(tables)
    }

    async fn tables_of(&mut self, target: Target<'_>) -> Result<LookTables, NoLook> {
        let deadline = self.deadlines.of(Deadline::Look);
        let looks = self.host.looks().ok_or(NoLook::Impossible)?;
        let taken = timeout(deadline, looks.take(target, &self.around)).await;
        let (mut look, contents) = taken.map_err(|_| NoLook::Late(deadline))?.map_err(HostError::from)?;
        look.pages = contents.iter().map(|(address, page)| (*address, digest(page))).collect();
        let pages: HashMap<String, Vec<u8>> =
            contents.into_values().map(|page| (digest(&page), page)).collect();
        Ok(LookTables::of(&look, &self.around, &|name: &str| pages.get(name).cloned()))
    }
}
