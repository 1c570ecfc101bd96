//! Spreads an application's messages over several DynamoDB partitions.
//!
//! One partition accepts 1,000 write units per second (AWS: "Best practices for designing and using
//! partition keys"); with N shards an application can write N times that, and a list is N queries
//! merged.

use sha2::{Digest, Sha256};

use crate::id::MessageId;

/// How many shards a new application has. It is stored with the application and never changes,
/// because it determines the shard of every stored message.
pub const DEFAULT_SHARDS: u16 = 4;

/// The shard of a message, from 0 to `shards - 1`.
pub fn shard_of(message: &MessageId, shards: u16) -> u16 {
    let hash = Sha256::digest(message.as_str());
    u16::from_be_bytes([hash[0], hash[1]]) % shards.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;

    #[test]
    fn messages_spread_evenly_and_stay_where_they_are() {
        let mut counts = [0; 4];
        for i in 0..4000_u32 {
            let mut entropy = [0; 15];
            entropy[..4].copy_from_slice(&i.to_be_bytes());
            let id = MessageId::new(Timestamp::from_millis(1_700_000_000_000), entropy);
            counts[usize::from(shard_of(&id, 4))] += 1;
        }
        assert!(counts.iter().all(|n| (900..1100).contains(n)), "{counts:?}");
        let id = MessageId::new(Timestamp::from_millis(1_700_000_000_000), [7; 15]);
        assert_eq!(
            shard_of(&id, 4),
            2,
            "a changed hash would lose stored messages"
        );
    }
}
