//! FIT images: a flattened device tree with kernels, device trees and initial file systems, and
//! configurations that say which of them belong together (U-Boot,
//! doc/usage/fit/source_file_format.rst).
//!
//! The kernel and the initial file system of the default configuration are taken, after their
//! hashes were compared. Its device tree is that of another board and is left: this machine makes
//! its own. Signatures are not looked at, as nobody has said whose would be good.

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::super::LoadError;
use super::Parts;
use super::compressed::Method;

/// That of a flattened device tree (Devicetree Specification, 5.2).
pub const MAGIC: &[u8] = b"\xd0\x0d\xfe\xed";
/// The most hashes of one image: each takes as long as reading all of it.
const MAX_HASHES: usize = 8;
/// Where the size of the tree is.
const SIZE_AT: usize = 4;

fn damaged(why: impl Into<String>) -> LoadError {
    LoadError::Damaged {
        what: "a FIT image",
        why: why.into(),
    }
}

/// Returns the kernel of the default configuration, uncompressed to `most` bytes at the most, and
/// its initial file system.
///
/// # Errors
/// It is damaged, or has no kernel for this machine.
pub(super) fn open(bytes: &[u8], most: u64) -> Result<Parts, LoadError> {
    let size = bytes.get(SIZE_AT..SIZE_AT + 4);
    let size = size.and_then(|size| Some(u32::from_be_bytes(size.try_into().ok()?)));
    let tree = size.and_then(|size| bytes.get(..usize::try_from(size).ok()?));
    let tree = tree.ok_or_else(|| damaged("it is shorter than its header says"))?;
    let fdt = Fdt::new(tree).map_err(|error| damaged(error.to_string()))?;
    let root = fdt.root();
    let (Some(images), Some(configurations)) =
        (child(root, "images"), child(root, "configurations"))
    else {
        return Err(LoadError::NotKernel(
            "a device tree, and no kernel: this machine makes its own tree",
        ));
    };
    let default = text(configurations, "default");
    let configuration = match default {
        Some(name) => child(configurations, &name)
            .ok_or_else(|| damaged(format!("it has no configuration {name:?}, its default")))?,
        None => configurations
            .children()
            .next()
            .ok_or_else(|| damaged("it has no configuration"))?,
    };
    let named = |role: &str| -> Result<Option<FdtNode<'_>>, LoadError> {
        let Some(name) = text(configuration, role) else {
            return Ok(None);
        };
        let image = child(images, &name);
        image
            .map(Some)
            .ok_or_else(|| damaged(format!("it has no image {name:?}")))
    };
    let kernel =
        named("kernel")?.ok_or_else(|| damaged("its default configuration has no kernel"))?;
    if text(kernel, "arch").is_some_and(|arch| arch != "arm" && arch != "arm64") {
        return Err(LoadError::NotKernel(
            "a FIT image for another processor than ARM",
        ));
    }
    let data = part(bytes, tree, kernel)?;
    let kernel = match text(kernel, "compression").as_deref().unwrap_or("none") {
        "none" => data,
        "gzip" => Method::Gzip.unpack(&data, most)?,
        "lzma" => Method::Lzma.unpack(&data, most)?,
        "lz4" => Method::Lz4.unpack(&data, most)?,
        "zstd" => Method::Zstd.unpack(&data, most)?,
        _ => {
            return Err(LoadError::NotKernel(
                "a FIT image whose kernel is compressed with bzip2 or lzo: take it out (dumpimage -T flat_dt -p 0 \
                 -o KERNEL FILE), and decompress it",
            ));
        }
    };
    let initrd = named("ramdisk")?
        .map(|image| part(bytes, tree, image))
        .transpose()?;
    Ok(Parts { kernel, initrd })
}

fn child<'t>(node: FdtNode<'t>, name: &str) -> Option<FdtNode<'t>> {
    node.children().find(|child| child.name() == name)
}

/// Returns the first of the texts of a property.
fn text(node: FdtNode<'_>, name: &str) -> Option<String> {
    let value = bytes_of(node, name)?;
    let text = value.split(|byte| *byte == 0).next()?;
    String::from_utf8(text.to_vec()).ok()
}

fn bytes_of(node: FdtNode<'_>, name: &str) -> Option<Vec<u8>> {
    let mut properties = node.properties();
    let property = properties.find(|property| property.name() == name)?;
    Some(property.value().to_vec())
}

/// Returns a number of 32 bits.
fn number(node: FdtNode<'_>, name: &str) -> Option<usize> {
    let bytes = <[u8; 4]>::try_from(bytes_of(node, name)?).ok()?;
    usize::try_from(u32::from_be_bytes(bytes)).ok()
}

/// Returns the data of an image, whose hashes agree. They are in the tree, or behind it in the
/// file.
fn part(file: &[u8], tree: &[u8], image: FdtNode<'_>) -> Result<Vec<u8>, LoadError> {
    let outside = || {
        let behind = |offset| tree.len().next_multiple_of(4).checked_add(offset);
        let begin = number(image, "data-offset").and_then(behind);
        let begin = begin.or_else(|| number(image, "data-position"))?;
        let data = file.get(begin..begin.checked_add(number(image, "data-size")?)?);
        data.map(<[u8]>::to_vec)
    };
    let data = bytes_of(image, "data").or_else(outside);
    let missing = || damaged(format!("the data of {:?} are missing", image.name()));
    let data = data.ok_or_else(missing)?;
    let hashes = image.children();
    let hashes = hashes.filter(|node| node.name().starts_with("hash"));
    for (number, hash) in hashes.enumerate() {
        if number == MAX_HASHES {
            return Err(damaged(format!("{:?} has too many hashes", image.name())));
        }
        check(image.name(), &data, hash)?;
    }
    Ok(data)
}

fn check(image: &str, data: &[u8], hash: FdtNode<'_>) -> Result<(), LoadError> {
    let found = match text(hash, "algo").unwrap_or_default().as_str() {
        "crc32" => crc32fast::hash(data).to_be_bytes().to_vec(),
        "sha1" => Sha1::digest(data).to_vec(),
        "sha256" => Sha256::digest(data).to_vec(),
        "sha384" => Sha384::digest(data).to_vec(),
        "sha512" => Sha512::digest(data).to_vec(),
        other => {
            let why = format!(
                "{image:?} has a hash {other:?}, and known are crc32, sha1, sha256, sha384 and sha512"
            );
            return Err(damaged(why));
        }
    };
    match bytes_of(hash, "value") == Some(found) {
        true => Ok(()),
        false => Err(damaged(format!("the hash of {image:?} is wrong"))),
    }
}
