//! DTO: bodies of requests and responses, and what they mean. The only types that are JSON.
//!
//! Request types have no `Debug`: SDP and SRTP keys pass through them.

pub mod activity;
pub mod api_key;
pub mod audit;
pub mod call;
pub mod capture;
pub mod engine;
pub mod event;
pub mod field;
pub mod hearing;
pub mod id;
pub mod json;
pub mod keys;
pub mod leg;
pub mod model;
pub mod named_plan;
pub mod plan;
pub mod recording;
pub mod secure_session;
pub mod sink;
pub mod text;
pub mod ticket;
pub mod tool;
pub mod twilio;
pub mod webhook;
