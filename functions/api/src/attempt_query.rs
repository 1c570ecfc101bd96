//! What a list of attempts is asked for, and what of it the filters admit.

use posthorn_contract::{ApiError, Refusal};
use posthorn_domain::{
    attempt::Attempt,
    delivery::Delivery,
    id::{EndpointId, MessageId, Reference},
    message::Message,
    name::{Channel, Tag, Uid},
};
use posthorn_store::Slice;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    Api,
    attempt_out::{AttemptOut, show},
    extract::{TheApplication, find_endpoint},
    list::{Limit, Paging},
    query::{CodeClass, EventTypes, NotTrue, StatusFilter, Time, yes},
    status::MessageStatus,
    the_message::{has_channel, has_tag},
};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Items of the page.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 250)]
    limit: Option<Limit>,
    /// Where to go on: `iterator` or `prevIterator` of another page.
    iterator: Option<String>,
    /// 0 success, 1 pending, 2 fail, 3 sending.
    #[param(value_type = Option<u8>, maximum = 3)]
    status: Option<StatusFilter>,
    /// 0 (no response), 100, 200, 300, 400 or 500.
    #[param(value_type = Option<u16>, multiple_of = 100, maximum = 500)]
    status_code_class: Option<CodeClass>,
    /// Only messages with this channel.
    channel: Option<Channel>,
    /// Only messages with this tag.
    tag: Option<Tag>,
    /// Only attempts before then.
    #[param(value_type = Option<String>, format = DateTime)]
    before: Option<Time>,
    /// Only attempts after then.
    #[param(value_type = Option<String>, format = DateTime)]
    after: Option<Time>,
    /// Only these event types, separated by commas.
    #[param(value_type = Option<Vec<posthorn_domain::name::EventTypeName>>, explode = false)]
    event_types: Option<EventTypes>,
    /// Whether to show response bodies.
    #[serde(default = "yes")]
    #[param(default = true)]
    with_content: bool,
    /// Whether to show the messages beside the attempts: not supported, false only.
    #[param(value_type = Option<bool>)]
    #[expect(dead_code, reason = "true is refused when it is read")]
    with_msg: Option<NotTrue>,
    /// Without effect: it would show canceled deliveries as such, and Posthorn has none.
    #[expect(dead_code, reason = "official clients send it, and it changes nothing")]
    expanded_statuses: Option<bool>,
}

/// What attempts of a message may be asked for besides: those at an endpoint have its name in their path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EndpointQuery {
    /// Only this endpoint, by id or uid.
    #[param(value_type = Option<Uid>)]
    endpoint_id: Option<Uid>,
}

impl EndpointQuery {
    /// The only endpoint that is wanted.
    pub(crate) async fn endpoint(
        &self,
        api: &Api,
        owner: &TheApplication,
    ) -> Result<Option<EndpointId>, Refusal> {
        let Some(name) = &self.endpoint_id else {
            return Ok(None);
        };
        let reference = match name.as_str().parse() {
            // A deleted endpoint's attempts are still there.
            Ok(Reference::Id(id)) => return Ok(Some(id)),
            Ok(reference) => reference,
            Err(_) => return Err(ApiError::NotFound("endpoint").into()),
        };
        let found = find_endpoint(api, owner, &reference).await?;
        Ok(Some(found.ok_or(ApiError::NotFound("endpoint"))?.id))
    }
}

impl ListQuery {
    pub(crate) fn paging(&self) -> Paging {
        Paging {
            limit: self.limit,
            iterator: self.iterator.clone(),
            order: None,
        }
    }

    pub(crate) fn has_filter(&self) -> bool {
        let Self {
            status,
            status_code_class,
            channel,
            tag,
            event_types,
            before,
            after,
            limit: _,
            iterator: _,
            with_content: _,
            with_msg: _,
            expanded_statuses: _,
        } = self;
        let is_asked = status.is_some() || status_code_class.is_some() || event_types.is_some();
        let is_labelled = channel.is_some() || tag.is_some();
        is_asked || is_labelled || before.is_some() || after.is_some()
    }

    pub(crate) fn admits_message(&self, message: &Message) -> bool {
        self.channel
            .as_ref()
            .is_none_or(|channel| has_channel(message, channel))
            && self.tag.as_ref().is_none_or(|tag| has_tag(message, tag))
    }

    /// Which messages of a slice the filters admit; `None` when no filter asks. Deliveries
    /// hold neither channels nor tags.
    pub(crate) async fn messages(
        &self,
        api: &Api,
        owner: &TheApplication,
        slice: &Slice<Delivery>,
    ) -> Result<Option<Vec<MessageId>>, Refusal> {
        if self.channel.is_none() && self.tag.is_none() {
            return Ok(None);
        }
        let ids: Vec<MessageId> = slice
            .items
            .iter()
            .filter_map(|(key, _)| key.parse().ok())
            .collect();
        let log = owner.application.log();
        let found = api.messages().get_many(log, &ids).await?;
        let admitted = found
            .into_iter()
            .filter(|message| self.admits_message(message));
        Ok(Some(admitted.map(|message| message.id).collect()))
    }

    /// The attempts of a delivery that the filters admit.
    pub(crate) fn show(
        &self,
        endpoint: &EndpointId,
        message: &MessageId,
        delivery: Delivery,
    ) -> impl Iterator<Item = AttemptOut> {
        let types = self.event_types.as_ref();
        let is_type = types.is_none_or(|types| types.admits(&delivery.event_type));
        let attempts = delivery.attempts.into_iter().filter(move |_| is_type);
        attempts
            .filter(|attempt| self.admits(attempt))
            .map(|attempt| show(endpoint, message, attempt, self.with_content))
    }

    fn admits(&self, attempt: &Attempt) -> bool {
        let status = MessageStatus::of(attempt).number();
        let classes = self.status_code_class;
        self.status.is_none_or(|wanted| wanted.0 == status)
            && classes.is_none_or(|class| class.admits(attempt.status_code))
            && self
                .before
                .is_none_or(|before| attempt.started_at < before.0)
            && self.after.is_none_or(|after| attempt.started_at > after.0)
    }
}
