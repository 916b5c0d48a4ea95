//! The conformance suite over layouts.

use std::sync::Arc;

use tranship::layout::{Layout, Layouts};
use tranship::repository::{Placement, Repository};

use crate::conformance::{self, Abilities};

#[tokio::test]
async fn layouts_of_a_tree_conform() {
    let root = tempfile::tempdir().unwrap();
    let layouts = Layouts::open(root.path()).await.unwrap();
    let one = layouts.get_or_create(&"acme/app".parse().unwrap()).await.unwrap();
    let other = layouts.get_or_create(&"acme/base".parse().unwrap()).await.unwrap();
    conformance::check(Arc::new(one), Arc::new(other), Abilities::ALL).await;
}

/// What a layout keeps in memory is only a cache: fresh handles see the same.
#[tokio::test]
async fn what_was_written_is_seen_by_another_handle() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("app");
    let writer = Layout::open_or_create(&folder).await.unwrap();
    let image = conformance::push_image(&writer, "seen").await;
    let reader: Arc<dyn Repository> = Arc::new(Layout::open(&folder).await.unwrap());
    assert_eq!(reader.tags().await.unwrap(), None);
    let placement = Placement::Tag(conformance::tag("t"));
    writer.put_manifest(&placement, &image).await.unwrap();
    assert_eq!(reader.manifest(&conformance::by_tag("t")).await.unwrap(), Some(image));
}
