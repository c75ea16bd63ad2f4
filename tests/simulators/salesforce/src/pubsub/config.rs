//! What the event bus is told: which entities are captured, which channels and events exist, and every limit.

use std::str::FromStr;

/// Events that a subscriber may have outstanding (Pub/Sub API, "Pull subscription and flow control").
pub const REQUESTED_MAX: i32 = 100;
/// Entities that may be selected for change data capture without an add-on (fact sheet, 4.5).
pub const ENTITIES_MAX: usize = 5;

/// Everything settable about Pub/Sub; an org without one has no event bus and captures nothing.
#[derive(Debug, Clone)]
pub struct PubSubConfig {
    /// Port on loopback; 0 picks a free one.
    pub port: u16,
    /// Objects whose changes are captured.
    pub entities: Vec<String>,
    pub entities_max: usize,
    pub channels: Vec<Channel>,
    pub platform_events: Vec<PlatformEvent>,
    pub managed: Vec<ManagedSubscription>,
    /// Silence after which an empty answer carries the latest replay id.
    pub keepalive_ms: u64,
    /// How long a subscription may stay open with nothing requested.
    pub unrequested_ms: u64,
    /// How long a publish stream may stay open without a valid publish.
    pub publish_idle_ms: u64,
    pub retention_ms: u64,
    /// Beyond this the oldest events go, whatever their age.
    pub retained_bytes_max: usize,
    /// Events delivered in a rolling day, all clients summed.
    pub delivered_max: u64,
    /// Events published in a rolling hour.
    pub published_max: u64,
    /// Changes of one transaction that become events; the rest is an overflow.
    pub changes_max: usize,
    /// A larger event is replaced by a gap event.
    pub event_bytes_max: usize,
}

impl Default for PubSubConfig {
    fn default() -> Self {
        Self {
            port: 0,
            entities: Vec::new(),
            entities_max: ENTITIES_MAX,
            channels: Vec::new(),
            platform_events: Vec::new(),
            managed: Vec::new(),
            keepalive_ms: 60_000,
            unrequested_ms: 60_000,
            publish_idle_ms: 70_000,
            retention_ms: 72 * 3_600_000,
            retained_bytes_max: 512 * 1024 * 1024,
            delivered_max: 50_000,
            published_max: 50_000,
            changes_max: 100_000,
            event_bytes_max: 1024 * 1024,
        }
    }
}

/// A custom change data capture channel: `Sales__chn=Account,Contact`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    pub name: String,
    pub entities: Vec<String>,
}

impl FromStr for Channel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, list) = text.split_once('=').ok_or("expected Name__chn=Object,Object")?;
        if !name.ends_with("__chn") {
            return Err(format!("{name}: a channel's name ends in __chn"));
        }
        let entities = list.split(',').map(|e| e.trim().to_owned()).collect();
        Ok(Self {
            name: name.trim().into(),
            entities,
        })
    }
}

/// A platform event and its fields: `Order_Event__e: Number__c text, Total__c number`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformEvent {
    pub name: String,
    pub fields: Vec<(String, PlatformType)>,
}

/// Types a platform event's field may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlatformType {
    Text,
    LongText,
    Number,
    Checkbox,
    Date,
    DateTime,
}

impl FromStr for PlatformEvent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, list) = text.split_once(':').ok_or("expected Name__e: Field__c type, …")?;
        if !name.trim().ends_with("__e") {
            return Err(format!("{name}: a platform event's name ends in __e"));
        }
        let field = |part: &str| {
            let (field, kind) = part
                .trim()
                .split_once(' ')
                .ok_or_else(|| format!("{part}: expected Field__c type"))?;
            let kind = match kind.trim() {
                "text" => PlatformType::Text,
                "longtext" => PlatformType::LongText,
                "number" => PlatformType::Number,
                "checkbox" => PlatformType::Checkbox,
                "date" => PlatformType::Date,
                "datetime" => PlatformType::DateTime,
                other => return Err(format!("{other}: text, longtext, number, checkbox, date or datetime")),
            };
            Ok((field.to_owned(), kind))
        };
        Ok(Self {
            name: name.trim().into(),
            fields: list.split(',').map(field).collect::<Result<_, String>>()?,
        })
    }
}

/// A subscription whose position the org keeps: `Sync_Accounts=/data/AccountChangeEvent`, with an
/// optional `@EARLIEST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedSubscription {
    pub developer_name: String,
    pub topic: String,
    pub from_earliest: bool,
}

impl FromStr for ManagedSubscription {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("expected Developer_Name=/topic[@EARLIEST]")?;
        let (topic, preset) = rest.split_once('@').unwrap_or((rest, "LATEST"));
        let from_earliest = match preset {
            "EARLIEST" => true,
            "LATEST" => false,
            other => return Err(format!("{other}: LATEST or EARLIEST")),
        };
        Ok(Self {
            developer_name: name.trim().into(),
            topic: topic.trim().into(),
            from_earliest,
        })
    }
}

/// The command line's share.
#[derive(Debug, Clone, clap::Args)]
pub struct PubSubArgs {
    /// Serve the Pub/Sub API on this port of loopback; 0 picks a free one.
    #[arg(long)]
    pub pubsub_port: Option<u16>,
    /// Objects whose changes are captured, e.g. `Account,Contact`; five at most unless `--cdc-entities` says more.
    #[arg(long, value_delimiter = ',')]
    pub cdc: Vec<String>,
    /// How many objects may be selected for change data capture.
    #[arg(long, default_value_t = ENTITIES_MAX)]
    pub cdc_entities: usize,
    /// A custom channel: `Sales__chn=Account,Contact`.
    #[arg(long = "cdc-channel")]
    pub cdc_channels: Vec<Channel>,
    /// A platform event: `Order_Event__e: Number__c text, Total__c number`.
    #[arg(long = "platform-event")]
    pub platform_events: Vec<PlatformEvent>,
    /// A managed subscription: `Sync_Accounts=/data/AccountChangeEvent@EARLIEST`.
    #[arg(long = "managed-subscription")]
    pub managed: Vec<ManagedSubscription>,
    #[arg(long, default_value_t = 60_000)]
    pub pubsub_keepalive_ms: u64,
    /// How long a subscription may stay open with nothing requested.
    #[arg(long, default_value_t = 60_000)]
    pub pubsub_unrequested_ms: u64,
    #[arg(long, default_value_t = 70_000)]
    pub publish_idle_ms: u64,
    #[arg(long, default_value_t = 72)]
    pub event_retention_hours: u64,
    /// Events delivered in a rolling day.
    #[arg(long, default_value_t = 50_000)]
    pub delivered_events: u64,
    /// Events published in a rolling hour.
    #[arg(long, default_value_t = 50_000)]
    pub published_events: u64,
    /// Changed fields of one transaction that become events; the rest is a GAP_OVERFLOW.
    #[arg(long, default_value_t = 100_000)]
    pub cdc_changes: usize,
}

impl PubSubArgs {
    /// The configuration, when Pub/Sub is wanted at all.
    #[must_use]
    pub fn config(&self) -> Option<PubSubConfig> {
        Some(PubSubConfig {
            port: self.pubsub_port?,
            entities: self.cdc.clone(),
            entities_max: self.cdc_entities,
            channels: self.cdc_channels.clone(),
            platform_events: self.platform_events.clone(),
            managed: self.managed.clone(),
            keepalive_ms: self.pubsub_keepalive_ms,
            unrequested_ms: self.pubsub_unrequested_ms,
            publish_idle_ms: self.publish_idle_ms,
            retention_ms: self.event_retention_hours * 3_600_000,
            delivered_max: self.delivered_events,
            published_max: self.published_events,
            changes_max: self.cdc_changes,
            ..PubSubConfig::default()
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn channels_events_and_managed_subscriptions_are_read_from_text() {
        let channel: Channel = "Sales__chn=Account, Contact".parse().unwrap();
        assert_eq!(channel.entities, ["Account", "Contact"]);
        let event: PlatformEvent = "Order__e: Number__c text, Total__c number".parse().unwrap();
        assert_eq!(event.fields[1], ("Total__c".into(), PlatformType::Number));
        let managed: ManagedSubscription = "Sync=/data/ChangeEvents@EARLIEST".parse().unwrap();
        assert!(managed.from_earliest && managed.topic == "/data/ChangeEvents");
        for bad in ["Sales=Account", "Sales__chn"] {
            assert!(bad.parse::<Channel>().is_err(), "{bad}");
        }
        for bad in ["Order__e", "Order: A__c text", "Order__e: A__c blob", "Order__e: A__c"] {
            assert!(bad.parse::<PlatformEvent>().is_err(), "{bad}");
        }
        assert!("Sync=/data/ChangeEvents@CUSTOM".parse::<ManagedSubscription>().is_err());
    }
}
