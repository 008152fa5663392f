//! Memory that is replaced while an access is under way, at each step of it.

use std::sync::{Arc, OnceLock};

use super::common::{DOMAIN, ENDPOINT, PAGE, PlainModel, RAM, ram};
use viommu::{
    Attachment, CacheConfig, DomainId, Event, Fault, Mapping, Miss, Model, Observer, Requester,
    TranslationUnit, UnitConfig,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, GuestRegionMmap, Permissions};

const IOVA: GuestAddress = GuestAddress(0x7000);
const MORE: u64 = RAM + 0x40_0000;

/// Replaces the memory, once.
#[derive(Default)]
struct Replace(
    OnceLock<Arc<TranslationUnit>>,
    OnceLock<Arc<GuestMemoryMmap<()>>>,
);

impl Replace {
    fn now(&self) {
        // Set by the tests when the access is to be disturbed; what comes back is not waited for.
        if let (Some(unit), Some(memory)) = (self.0.get(), self.1.get()) {
            let _ = unit.set_memory(Arc::clone(memory));
        }
    }
}

/// An observer that replaces it when an access was announced, and a model that does when asked.
struct When {
    replace: Arc<Replace>,
    announced: bool,
    model: PlainModel,
}

impl Observer for When {
    fn event(&self, event: &Event) {
        if self.announced && matches!(event, Event::Dma { .. }) {
            self.replace.now();
        }
    }

    fn wants_dma(&self) -> bool {
        true
    }
}

impl Model for When {
    fn translate(
        &self,
        requester: Requester,
        domain: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        if !self.announced {
            self.replace.now();
        }
        self.model.translate(requester, domain, iova, wanted)
    }

    fn fault(&self, fault: &Fault) {
        self.model.fault(fault);
    }
}

fn with_another(ram: &GuestMemoryMmap<()>) -> Arc<GuestMemoryMmap<()>> {
    let region = GuestRegionMmap::from_range(GuestAddress(MORE), 0x1_0000, None);
    Arc::new(ram.insert_region(Arc::new(region.unwrap())).unwrap())
}

/// Has a region replaced by another at the same place, in the middle of the access that is the
/// first to be translated.
fn replaced_in_the_middle(announced: bool) {
    let ram = ram();
    let (old, new) = (with_another(&ram), with_another(&ram));
    let replace = Arc::new(Replace::default());
    let when = Arc::new(When {
        replace: Arc::clone(&replace),
        announced,
        model: PlainModel::default(),
    });
    when.model.map_page(IOVA.0, MORE, Permissions::ReadWrite);
    when.model
        .map_page(IOVA.0 + PAGE, RAM, Permissions::ReadWrite);
    let config = UnitConfig::new(1, 4).with_initial(Attachment::Domain(DOMAIN));
    let unit = TranslationUnit::with_cache(
        Arc::clone(&old),
        Arc::clone(&when) as Arc<dyn Model>,
        &config,
        &CacheConfig::default(),
        Some(Arc::clone(&when) as Arc<dyn Observer>),
    );
    let space = unit.space(ENDPOINT);
    // The domain has a stamp already, as most have.
    space.write_obj(1u8, GuestAddress(IOVA.0 + PAGE)).unwrap();
    replace.1.set(Arc::clone(&new)).unwrap();
    replace.0.set(Arc::clone(&unit)).ok().unwrap();
    let pin = space.pin();
    pin.write_obj(7u32, IOVA).unwrap();
    let read = |memory: &GuestMemoryMmap<()>| memory.read_obj::<u32>(GuestAddress(MORE)).unwrap();
    assert_eq!((read(&old), read(&new)), (7, 0), "it had begun before");
    drop(pin);
    assert!(unit.set_memory(Arc::clone(&new)).is_over());
    space.write_obj(8u32, IOVA).unwrap();
    assert_eq!((read(&old), read(&new)), (7, 8));
    assert_eq!(Arc::strong_count(&old), 1, "nobody keeps it");
}

#[test]
fn before_the_translation_is_looked_for() {
    replaced_in_the_middle(true);
}

#[test]
fn while_the_model_is_asked() {
    replaced_in_the_middle(false);
}
