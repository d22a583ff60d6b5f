//! Links: what the contract says beyond each route: a name of its own for every operation, which
//! operation follows which, and parameters that are never null.

use utoipa::openapi::link::{Link, LinkBuilder};
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::schema::{Schema, SchemaType, Type};
use utoipa::openapi::{OpenApi, RefOr, Response};

/// Where the answer to what opens a call has its id, as a runtime expression (OpenAPI 3.1 section
/// 4.8.20.4).
const CALL_ID: &str = "$response.body#/id";
/// Where a list of deliveries has the id of its first.
const FIRST_DELIVERY: &str = "$response.body#/data/0/id";

/// Adds them to a contract whose routes are all there.
pub(crate) fn complete(contract: &mut OpenApi) {
    for operation in operations(contract) {
        name(operation);
        operation.parameters.iter_mut().flatten().for_each(|it| {
            if let RefOr::T(parameter) = it {
                forbid_null(parameter);
            }
        });
    }
    let calls = followers(contract, "/v1/calls/{call_id}");
    follow(contract, "calls_open", "201", &calls, ("call_id", CALL_ID));
    let deliveries = followers(contract, "/v1/webhook-deliveries/{delivery_id}");
    follow(contract, "webhooks_list", "200", &deliveries, ("delivery_id", FIRST_DELIVERY));
}

/// Names are of handlers, and handlers of several things have one name.
fn name(operation: &mut Operation) {
    let tag = operation.tags.iter().flatten().next().cloned().unwrap_or_default();
    if let Some(id) = &mut operation.operation_id {
        *id = format!("{}_{id}", tag.replace([' ', '-'], "_"));
    }
}

/// What is left out of a header or a query is not there: it has no way to be null.
fn forbid_null(parameter: &mut Parameter) {
    match parameter.parameter_in {
        ParameterIn::Header | ParameterIn::Query => {}
        ParameterIn::Path | ParameterIn::Cookie | ParameterIn::QueryString => return,
    }
    let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema else { return };
    let SchemaType::Array(types) = &object.schema_type else { return };
    let mut others = types.iter().filter(|it| **it != Type::Null);
    if let (Some(only), None) = (others.next(), others.next()) {
        object.schema_type = SchemaType::Type(only.clone());
    }
}

/// The operations on a path and below it.
fn followers(contract: &mut OpenApi, path: &str) -> Vec<String> {
    let below = contract.paths.paths.iter_mut().filter(|(it, _)| it.starts_with(path));
    below.flat_map(|(_, item)| of_item(item)).filter_map(|it| it.operation_id.clone()).collect()
}

/// Links one operation's answer to those that take an id out of it.
fn follow(
    contract: &mut OpenApi,
    first: &str,
    status: &str,
    then: &[String],
    (parameter, place): (&str, &str),
) {
    let all = operations(contract);
    let named = |it: &&mut Operation| it.operation_id.as_deref() == Some(first);
    let answer = all.into_iter().find(named).and_then(|it| it.responses.responses.get_mut(status));
    let Some(RefOr::T(Response { links, .. })) = answer else {
        unreachable!("{first} answers {status}: a test of the contract says so")
    };
    for next in then {
        let link: Link =
            LinkBuilder::new().operation_id(next.clone()).parameter(parameter, place).build();
        links.insert(next.clone(), RefOr::T(link));
    }
}

fn operations(contract: &mut OpenApi) -> Vec<&mut Operation> {
    contract.paths.paths.values_mut().flat_map(of_item).collect()
}

fn of_item(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}
