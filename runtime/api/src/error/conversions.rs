//! Which status and code each error of the engine and of the core becomes.

use capstan_core::manifest::ManifestError;
use capstan_core::units::UnitError;
use capstan_engine::data::DataError;
use capstan_engine::engine::JobBuildError;
use capstan_engine::events::FilterError;
use capstan_engine::handler::MAX_NAME;
use capstan_engine::handler_store::{BaseError, FilesError, HandlerStoreError, LoadError, SnapshotError, StoreError};
use capstan_engine::history::RemoveError;
use capstan_engine::job::{CommandLineError, DuplicateKey, StartError};
use capstan_engine::job_store::{ChangeError, JobStoreError, SubmitError};
use capstan_engine::registry::RegistryError;
use capstan_engine::routes::RoutesError;
use capstan_engine::schedule::ScheduleError;
use capstan_engine::scheduler::SchedulerError;
use hyper::StatusCode;

use super::Error;

impl From<RegistryError> for Error {
    fn from(error: RegistryError) -> Self {
        let (status, code) = match &error {
            RegistryError::InvalidName(_) => (StatusCode::BAD_REQUEST, "invalid_name"),
            RegistryError::Duplicate(_) | RegistryError::DuplicateCatchAll => (StatusCode::CONFLICT, "conflict"),
            RegistryError::Builtin(_) => (StatusCode::FORBIDDEN, "builtin"),
            RegistryError::Unknown(name) => {
                // A name in a path may be as long as the head of a request.
                let name: String = name.chars().take(MAX_NAME).collect();
                return Self::new(StatusCode::NOT_FOUND, "unknown_handler", RegistryError::Unknown(name).to_string());
            }
            RegistryError::Precondition(_) => (StatusCode::PRECONDITION_FAILED, "precondition_failed"),
            RegistryError::Routes(RoutesError::Conflict { .. }) => (StatusCode::CONFLICT, "route_conflict"),
            RegistryError::Routes(RoutesError::Invalid(_) | RoutesError::NoFiles(_)) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid_route")
            }
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<JobBuildError> for Error {
    fn from(error: JobBuildError) -> Self {
        match error {
            JobBuildError::NotInvocable => Self::bad_request(error.to_string()),
            JobBuildError::ArgContainsNul(_) => Self::new(StatusCode::BAD_REQUEST, "invalid_arg", error.to_string()),
            JobBuildError::Denied(_) => Self::new(StatusCode::FORBIDDEN, "policy_denied", error.to_string()),
            JobBuildError::GuestPath(_) => Self::new(StatusCode::BAD_REQUEST, "bad_mount", error.to_string()),
            // Only a running job has children, and the API builds none of those.
            JobBuildError::TooDeep => Self::internal(error.to_string()),
            JobBuildError::TooLarge(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string()),
        }
    }
}

impl From<CommandLineError> for Error {
    fn from(error: CommandLineError) -> Self {
        Self::bad_request(format!("command: {error}"))
    }
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        match error {
            StartError::ShuttingDown => Self::draining(),
            StartError::Busy { .. } => Self::busy(error.to_string()),
            StartError::DuplicateKey(DuplicateKey { job, .. }) => Self::conflict(job, error.to_string()),
            StartError::AlreadyStarted => Self::internal(error.to_string()),
        }
    }
}

impl From<RemoveError> for Error {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::Unknown(job) => Self::unknown_job(&job.to_string()),
            RemoveError::NotEnded(job) => {
                Self { job: Some(job.into()), ..Self::new(StatusCode::CONFLICT, "job_running", error.to_string()) }
            }
        }
    }
}

impl From<JobStoreError> for Error {
    fn from(error: JobStoreError) -> Self {
        let (status, code) = match &error {
            JobStoreError::Full => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
            JobStoreError::Damaged { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "damaged"),
            JobStoreError::Io { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            JobStoreError::Stopped(_) | JobStoreError::Closed => (StatusCode::SERVICE_UNAVAILABLE, "store_stopped"),
        };
        let is_retryable = status == StatusCode::SERVICE_UNAVAILABLE;
        Self { is_retryable, ..Self::new(status, code, error.to_string()) }
    }
}

impl From<DataError> for Error {
    fn from(error: DataError) -> Self {
        let (status, code) = match &error {
            DataError::Denied => (StatusCode::FORBIDDEN, "denied"),
            DataError::InvalidBucket(_) | DataError::InvalidKey(_) => (StatusCode::BAD_REQUEST, "invalid_key"),
            DataError::ValueTooLarge(_) | DataError::BatchTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            DataError::QuotaBytes(_) | DataError::QuotaKeys(_) => {
                (StatusCode::INSUFFICIENT_STORAGE, "data_quota_exceeded")
            }
            DataError::NotANumber | DataError::Overflow | DataError::ContainerExists(_) | DataError::Discarded => {
                (StatusCode::CONFLICT, "conflict")
            }
            DataError::NoContainer(_) | DataError::NoObject(_) => (StatusCode::NOT_FOUND, "not_found"),
            DataError::Full => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
            DataError::Damaged { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "damaged"),
            DataError::Io { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            DataError::Stopped(_) | DataError::Closed => (StatusCode::SERVICE_UNAVAILABLE, "store_stopped"),
        };
        let is_retryable = status == StatusCode::SERVICE_UNAVAILABLE;
        Self { is_retryable, ..Self::new(status, code, error.to_string()) }
    }
}

impl From<SubmitError> for Error {
    fn from(error: SubmitError) -> Self {
        let message = error.to_string();
        match error {
            SubmitError::KeyReused { job } => {
                Self { job: Some(job.into()), ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "key_reused", message) }
            }
            SubmitError::UnknownDependency(job) => {
                let code = "unknown_dependency";
                Self { job: Some(job.into()), ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message) }
            }
            SubmitError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message),
            SubmitError::QueueFull { .. } => {
                Self { is_retryable: true, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", message) }
            }
            SubmitError::DuplicateId(_) => Self::internal(message),
        }
    }
}

impl From<ChangeError> for Error {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Unknown(job) => Self::unknown_job(&job.to_string()),
            ChangeError::NotEnded(job) => RemoveError::NotEnded(job).into(),
            ChangeError::Ended(job) => Self::job_ended(job),
            ChangeError::Store(error) => error.into(),
        }
    }
}

impl From<SchedulerError> for Error {
    fn from(error: SchedulerError) -> Self {
        match error {
            SchedulerError::Unknown(_) => Self::new(StatusCode::NOT_FOUND, "unknown_schedule", error.to_string()),
            SchedulerError::Invalid(error) => error.into(),
            SchedulerError::TooMany => Self::new(StatusCode::CONFLICT, "too_many_schedules", error.to_string()),
            SchedulerError::Conflict { .. } => Self::new(StatusCode::CONFLICT, "schedule_conflict", error.to_string()),
            SchedulerError::Refused(error) => error.into(),
            SchedulerError::Store(error) => error.into(),
        }
    }
}

impl From<ScheduleError> for Error {
    fn from(error: ScheduleError) -> Self {
        let (status, code) = match error {
            ScheduleError::Name(_) => (StatusCode::BAD_REQUEST, "invalid_name"),
            _ => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_schedule"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<HandlerStoreError> for Error {
    fn from(error: HandlerStoreError) -> Self {
        match error {
            HandlerStoreError::Load(error) => error.into(),
            HandlerStoreError::Registry(error) => error.into(),
            HandlerStoreError::Store(error) => error.into(),
            HandlerStoreError::Schedules(error) => error.into(),
            HandlerStoreError::Files(error) => error.into(),
            HandlerStoreError::Base(error) => error.into(),
            HandlerStoreError::Denied(_) => Self::new(StatusCode::FORBIDDEN, "policy_denied", error.to_string()),
        }
    }
}

impl From<FilesError> for Error {
    fn from(error: FilesError) -> Self {
        let (status, code) = match &error {
            FilesError::Compressed(_) | FilesError::NotTar(_) | FilesError::Empty | FilesError::Entry { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid_files")
            }
            FilesError::TooLarge(_) | FilesError::TooMany(_) => (StatusCode::PAYLOAD_TOO_LARGE, "files_too_large"),
            FilesError::Full => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
            FilesError::Io(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<BaseError> for Error {
    fn from(error: BaseError) -> Self {
        let (status, code) = match &error {
            BaseError::Unknown(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_base"),
            BaseError::Builtin(_) | BaseError::Itself(_) | BaseError::Chain { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid_base")
            }
            BaseError::ProgramAndBase(_) => (StatusCode::UNPROCESSABLE_ENTITY, "program_and_base"),
            BaseError::NoMain(_) => (StatusCode::UNPROCESSABLE_ENTITY, "no_main"),
            BaseError::NoProgram => (StatusCode::BAD_REQUEST, "bad_request"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let (status, code) = match &error {
            StoreError::Full => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
            StoreError::Damaged(_) => (StatusCode::INTERNAL_SERVER_ERROR, "damaged"),
            StoreError::Io { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        let message = error.to_string();
        let code = match error {
            LoadError::NotWasm(_) | LoadError::Invalid { .. } => "invalid_module",
            LoadError::TextFormat => "text_format",
            LoadError::Precompiled => "precompiled",
            LoadError::FeatureDisabled(_) => "feature_disabled",
            LoadError::TooComplex(_) => "module_too_complex",
            LoadError::UnknownImports(_) => "unknown_import",
            LoadError::NotACommand(_) => "not_a_command",
            LoadError::Foreign { kind, .. } => {
                let code = if kind.lacks_entry() { "not_a_command" } else { "unknown_import" };
                let error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message);
                return Self { kind: Some(kind), ..error };
            }
            LoadError::MemoryLimit { .. } => "memory_limit",
            LoadError::CompileLimit(_) => "compile_limit",
            LoadError::Snapshot(SnapshotError::Unsupported(_)) => "snapshot_unsupported",
            LoadError::Snapshot(SnapshotError::Failed { .. }) => "snapshot_failed",
            LoadError::Snapshot(SnapshotError::Random) => "snapshot_random",
            LoadError::Unavailable(_) => {
                let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "compile_unavailable", message);
                return Self { is_retryable: true, ..error };
            }
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }
}

impl From<ManifestError> for Error {
    fn from(error: ManifestError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_manifest", error.to_string())
    }
}

impl From<FilterError> for Error {
    fn from(error: FilterError) -> Self {
        Self::bad_request(format!("filter: {error}"))
    }
}

impl From<UnitError> for Error {
    fn from(error: UnitError) -> Self {
        Self::bad_request(error.to_string())
    }
}
