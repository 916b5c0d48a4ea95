//! Which rule put a tag at a target last: two rules that write one tag would undo each other's work,
//! and each would find its own record of it true.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use super::codec;
use super::local::Local;
use crate::oci::{RepositoryName, Tag};

/// The first byte of the keys of owners.
const KIND: u8 = b'o';

/// The rule that put a tag at a target, or found it in step there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagOwner {
    /// The rule's name.
    pub rule: String,
    /// The source repository, in whatever store the rule names.
    pub source: RepositoryName,
}

/// The owners of tags at targets. `target` is a `Repository::name`.
pub trait TagOwners: Debug + Send + Sync {
    fn get(&self, target: &str, tag: &Tag) -> Option<TagOwner>;

    fn set(&self, target: &str, tag: &Tag, owner: &TagOwner);

    /// The tag is gone: any rule may put it there.
    fn forget(&self, target: &str, tag: &Tag);
}

impl TagOwners for Local {
    fn get(&self, target: &str, tag: &Tag) -> Option<TagOwner> {
        codec::decode(&self.store.get(&encode_key(target, tag))?)
    }

    fn set(&self, target: &str, tag: &Tag, owner: &TagOwner) {
        self.apply(vec![(encode_key(target, tag), Some(codec::encode(owner)))]);
    }

    fn forget(&self, target: &str, tag: &Tag) {
        self.apply(vec![(encode_key(target, tag), None)]);
    }
}

fn encode_key(target: &str, tag: &Tag) -> Vec<u8> {
    codec::key(KIND, &(target, tag.as_str()))
}
