//! One table of endpoints, from which both the router and the OpenAPI document are made, so that
//! neither knows of an endpoint that the other does not.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{self, MethodRouter};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::Api;
use super::access::{Access, guard};
use super::problem::{PROBLEM, Problem};

/// What an answer's body is.
pub(super) enum Body {
    /// Why the request was refused.
    Problem,
    Text(&'static str),
    Json(fn(&mut SchemaGenerator) -> Schema),
}

pub(super) struct Endpoint {
    path: &'static str,
    method: &'static str,
    access: Access,
    summary: &'static str,
    parameters: Vec<(&'static str, &'static str)>,
    /// The schema of the document that is sent.
    takes: Option<Schema>,
    answers: Vec<(u16, &'static str, Body)>,
    handler: MethodRouter<Arc<Api>>,
}

impl Endpoint {
    pub fn get<T: 'static>(
        path: &'static str,
        access: Access,
        handler: impl Handler<T, Arc<Api>>,
    ) -> Self {
        Self::new("GET", path, access, routing::get(handler))
    }

    pub fn post<T: 'static>(
        path: &'static str,
        access: Access,
        handler: impl Handler<T, Arc<Api>>,
    ) -> Self {
        Self::new("POST", path, access, routing::post(handler))
    }

    fn new(
        method: &'static str,
        path: &'static str,
        access: Access,
        handler: MethodRouter<Arc<Api>>,
    ) -> Self {
        let (parameters, answers) = Default::default();
        Self { path, method, access, summary: "", parameters, takes: None, answers, handler }
    }

    pub fn summary(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    /// Its name and meaning. One that stands in the path is found there.
    pub fn parameter(mut self, name: &'static str, meaning: &'static str) -> Self {
        self.parameters.push((name, meaning));
        self
    }

    /// The document that is sent with the request.
    pub fn takes<T: JsonSchema>(self) -> Self {
        let settings = SchemaSettings::draft2020_12().for_deserialize().with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        });
        Self { takes: Some(settings.into_generator().into_root_schema_for::<T>()), ..self }
    }

    /// A good answer, or a refusal beyond those that access and limits bring.
    pub fn answer(mut self, status: u16, meaning: &'static str, body: Body) -> Self {
        self.answers.push((status, meaning, body));
        self
    }
}

pub(super) fn json<T: JsonSchema>() -> Body {
    Body::Json(|generator| generator.subschema_for::<T>())
}

/// One of two documents.
pub(super) fn either<A: JsonSchema, B: JsonSchema>() -> Body {
    Body::Json(|generator| {
        let either = [generator.subschema_for::<A>(), generator.subschema_for::<B>()];
        json_schema!({ "anyOf": either })
    })
}

/// The router of all endpoints, each guarded as its access says.
pub(super) fn router(endpoints: Vec<Endpoint>, api: &Arc<Api>) -> Router<Arc<Api>> {
    endpoints.into_iter().fold(Router::new(), |router, endpoint| {
        let guard = from_fn_with_state((Arc::clone(api), endpoint.access), guard);
        router.route(endpoint.path, endpoint.handler.route_layer(guard))
    })
}

/// The OpenAPI 3.1 document of the endpoints.
pub(super) fn document(endpoints: &[Endpoint]) -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for endpoint in endpoints {
        let operation = operation(endpoint, &mut generator);
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.to_ascii_lowercase()] = operation;
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tranship",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "Rules, runs and transfers of the daemon. Times are RFC 3339 in UTC.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(endpoint: &Endpoint, generator: &mut SchemaGenerator) -> Value {
    let in_path = |name: &str| endpoint.path.contains(&format!("{{{name}}}"));
    let parameters: Vec<Value> = endpoint
        .parameters
        .iter()
        .map(|(name, meaning)| {
            json!({
                "name": name,
                "in": if in_path(name) { "path" } else { "query" },
                "required": in_path(name),
                "description": meaning,
                "schema": { "type": "string" },
            })
        })
        .collect();
    let mut responses = Map::new();
    for (status, meaning, body) in &endpoint.answers {
        let (media_type, schema) = match body {
            Body::Problem => (PROBLEM, generator.subschema_for::<Problem>()),
            Body::Text(media_type) => (*media_type, json_schema!({ "type": "string" })),
            Body::Json(schema) => ("application/json", schema(generator)),
        };
        responses.insert(status.to_string(), answer(meaning, media_type, &schema));
    }
    let refusals = match endpoint.access {
        Access::Free | Access::Open => &[][..],
        Access::Read => &[(401, "The token is missing or wrong")][..],
        Access::Change => &[
            (401, "The token is missing or wrong"),
            (403, "The daemon has no token, so the API is read-only"),
        ][..],
        Access::Events => &[(401, "The secret is missing or wrong")][..],
    };
    let problem = generator.subschema_for::<Problem>();
    let limited = [(429, "Too many requests; retry after `Retry-After`")];
    let limited = limited.iter().filter(|_| endpoint.access != Access::Free);
    for (status, meaning) in refusals.iter().chain(limited) {
        responses.insert(status.to_string(), answer(meaning, PROBLEM, &problem));
    }
    let mut operation = json!({
        "summary": endpoint.summary,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(schema) = &endpoint.takes {
        let content = json!({ "application/json": { "schema": schema } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    if matches!(endpoint.access, Access::Read | Access::Change) {
        operation["security"] = json!([{ "token": [] }]);
    }
    operation
}

fn answer(meaning: &str, media_type: &str, schema: &Schema) -> Value {
    json!({ "description": meaning, "content": { media_type: { "schema": schema } } })
}
