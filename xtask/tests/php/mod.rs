//! What those who come from PHP look for, and how tables of it are read.

use std::path::Path;

/// The public methods of `Lib\Gateway`, aliases and deprecated ones included, and those that
/// GatewayClient adds.
pub(crate) const METHODS: [&str; 45] = [
    "sendToAll",
    "sendToClient",
    "sendToCurrentClient",
    "sendToUid",
    "sendToGroup",
    "closeClient",
    "closeCurrentClient",
    "destoryClient",
    "destoryCurrentClient",
    "bindUid",
    "unbindUid",
    "isUidOnline",
    "getClientIdByUid",
    "getUidByClientId",
    "getUidListByGroup",
    "getUidCountByGroup",
    "getAllUidList",
    "getAllUidCount",
    "joinGroup",
    "leaveGroup",
    "ungroup",
    "getClientIdListByGroup",
    "getClientIdCountByGroup",
    "getClientCountByGroup",
    "getAllGroupIdList",
    "getAllGroupUidCount",
    "getAllGroupUidList",
    "getAllGroupClientIdList",
    "getAllGroupClientIdCount",
    "getClientSessionsByGroup",
    "isOnline",
    "getAllClientIdList",
    "getAllClientIdCount",
    "getAllClientCount",
    "getAllClientSessions",
    "setSession",
    "updateSession",
    "getSession",
    "isUidsOnline",
    "batchGetClientIdByUid",
    "batchGetClientIdCountByGroup",
    "getAllClientInfo",
    "getClientInfoByGroup",
    "setSocketSession",
    "setBusinessWorker",
];

/// The top of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
}

/// What stands in code marks.
pub(crate) fn code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}
