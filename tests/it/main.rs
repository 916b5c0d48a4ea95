//! Every integration test, in one binary: one link, one place for the harness.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop, in its helpers too"
)]

mod bulk_lists;
mod bulk_products;
mod check;
mod cleanup;
mod cleanup_apply;
mod cleanup_bad_input;
mod cleanup_faults;
mod cleanup_gathering;
mod cleanup_in_use;
mod cleanup_layouts;
mod cleanup_stories;
mod cleanup_words;
mod cli_config;
mod cli_copy;
mod cli_delete;
mod cli_history;
mod cli_json;
mod cli_login;
mod cli_look;
mod cli_progress;
mod cli_skopeo;
mod cli_skopeo_inspect;
mod cli_skopeo_sync;
mod cli_status;
mod conformance;
mod credentials;
mod daemon_api;
mod daemon_beside;
mod daemon_beside_cleanup;
mod daemon_beside_restore;
mod daemon_beside_sync;
mod daemon_beside_verify;
mod daemon_bounds;
mod daemon_bursts;
mod daemon_cleanup;
mod daemon_cleanup_apply;
mod daemon_commands;
mod daemon_events;
mod daemon_events_told;
mod daemon_faults;
mod daemon_life;
mod daemon_mistakes;
mod daemon_prometheus;
mod daemon_reload;
mod daemon_secrets;
mod daemon_setup;
mod daemon_systemd;
mod demo;
mod deploy;
mod deploy_files;
mod docs;
mod events_distribution;
mod fairness;
mod faults_auth;
mod faults_source;
mod faults_target;
mod full_disk;
mod fuzz;
mod ghcr_packages;
mod harness;
mod layout_conformance;
mod layout_crash;
mod layout_garbage;
mod layout_names;
mod layout_server;
mod layout_skopeo;
mod layout_uploads;
mod limits;
mod memory;
mod messages;
mod metrics;
mod metrics_docs;
mod migration;
mod mirror_auth;
mod mirror_images;
mod mirror_kill;
mod mirror_layouts;
mod mirror_one_registry;
mod mirror_owners;
mod mirror_platforms;
mod mirror_referrers;
mod mirror_runs;
mod mirror_selection;
mod mirror_setup;
mod mirror_stop;
mod mirror_tls;
mod product_words;
mod products_acr;
mod products_ghcr;
mod products_gitea;
mod products_gitlab;
mod products_gitlab_lists;
mod products_harbor;
mod products_hub;
mod products_quay;
mod registry_conformance;
mod registry_lists;
mod registry_redirects;
mod registry_suspicion;
mod remove_extra;
mod repository_lists;
mod scope;
mod serve_layout;
mod serve_log;
mod stuck_registries;
#[allow(
    dead_code,
    unused_imports,
    reason = "the harness offers more than the tests of any one day use"
)]
mod support;
mod terminal;
mod unused_secrets;
mod verify_finds;
mod verify_references;
mod verify_repairs;
mod withheld;
