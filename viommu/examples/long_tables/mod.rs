//! The guest's page tables of the long-descriptor format, for the examples whose models walk them.

use std::error::Error;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::queue;

/// Writes tables of three levels from `first` on, which map the eight pages: `table` are the bits
/// of an entry that leads to a table, `page` those of one that leads to a page. Returns where the
/// entry of an IOVA's page is.
pub fn write(
    ram: &GuestMemoryMmap<()>,
    first: u64,
    (table, page): (u64, u64),
) -> Result<impl Fn(u64) -> GuestAddress, Box<dyn Error>> {
    let (second, third) = (first + 0x1000, first + 0x2000);
    let page_entry = move |iova: u64| GuestAddress(third + (iova >> 12 & 0x1ff) * 8);
    for (iova, address) in queue::pages() {
        let first_entry = GuestAddress(first + (iova >> 30) * 8);
        ram.write_obj(second | table, first_entry)?;
        let second_entry = GuestAddress(second + (iova >> 21 & 0x1ff) * 8);
        ram.write_obj(third | table, second_entry)?;
        ram.write_obj(address | page, page_entry(iova))?;
    }
    Ok(page_entry)
}
