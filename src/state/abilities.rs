//! What registries were found to be able to do, so that it need not be tried again.

use super::State;
use super::codec::Writer;

/// Keys of abilities start with this byte. Programs that do not know it leave them alone.
const KIND: u8 = b'a';

/// Something that registries may be able to do or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// Deleting one tag of a manifest that has others.
    Untag,
}

impl State {
    /// Whether the registry at a host can do it. `None`: nobody has tried.
    pub fn ability(&self, host: &str, ability: Ability) -> Option<bool> {
        match self.store().get(&key(host, ability))?[..] {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    /// Notes what was found out. `None`: it is to be tried again.
    pub fn set_ability(&self, host: &str, ability: Ability, able: Option<bool>) {
        self.apply(vec![(key(host, ability), able.map(|able| vec![u8::from(able)]))]);
    }
}

fn key(host: &str, ability: Ability) -> Vec<u8> {
    Writer::key(KIND).byte(ability as u8).text(host).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_are_those_of_their_registry() {
        let state = State::in_memory();
        state.set_ability("r.example", Ability::Untag, Some(false));
        assert_eq!(state.ability("r.example", Ability::Untag), Some(false));
        assert_eq!(state.ability("r.example:5000", Ability::Untag), None);
        state.set_ability("r.example", Ability::Untag, Some(true));
        assert_eq!(state.ability("r.example", Ability::Untag), Some(true));
        state.set_ability("r.example", Ability::Untag, None);
        assert_eq!(state.ability("r.example", Ability::Untag), None);
    }
}
