//! What becomes of a CPU, and why.

use super::step::names;

names! {
    /// What became of a CPU.
    End {
        /// It is in its wait, and reachable as the plan says.
        Parked = "parked",
        /// It runs at an entry that the plan named.
        Running = "running",
        /// It stopped in its bay with a fault record, or it executed or used memory that is not its own.
        Faulted = "faulted",
        /// It shut down.
        Shutdown = "shutdown",
        /// The machine was reset.
        Reset = "reset",
        /// It is beyond reach: wait-for-SIPI unanswered, a wake or INIT held for ever.
        Waiting = "waiting",
        /// It never answered.
        Absent = "absent",
    }
}

names! {
    /// Why a CPU ended as it did: the first thing that was found wrong with it.
    Cause {
        /// Nothing is wrong.
        AsPlanned = "as-planned",
        /// It fetched an instruction from memory that is somebody else's now.
        ForeignFetch = "foreign-fetch",
        /// Its page walk read somebody else's memory.
        ForeignWalk = "foreign-walk",
        /// An event pushed its frame into somebody else's memory.
        ForeignPush = "foreign-push",
        /// It read a descriptor or gate in somebody else's memory.
        ForeignDescriptor = "foreign-descriptor",
        /// It read or wrote data in somebody else's memory.
        ForeignData = "foreign-data",
        /// A fault while a double fault was delivered.
        TripleFault = "triple-fault",
        /// A machine check with CR4.MCE = 0.
        McWithoutMce = "mc-without-mce",
        /// A machine check with MCG_STATUS.MCIP = 1.
        McWhileMcip = "mc-while-mcip",
        /// A machine check with GIF = 0, where the implementation can't hold it.
        McWhileGif0 = "mc-while-gif-0",
        /// A broadcast machine check took the whole machine down.
        BroadcastMc = "broadcast-mc",
        /// The bootstrap processor took an INIT.
        BspInit = "bsp-init",
        /// SMM waited for ever for a CPU that could not come.
        SmmHang = "smm-hang",
        /// The machine was reset from outside.
        ResetInjected = "reset-injected",
        /// An INIT is held.
        InitHeld = "init-held",
        /// A STARTUP came while the CPU could not take it.
        SipiLost = "sipi-lost",
        /// It was rung and did not come.
        LostWake = "lost-wake",
        /// It took its entry more than once.
        DoubleEntry = "double-entry",
        /// It stopped in its bay with a fault record.
        FaultInBay = "fault-in-bay",
        /// A kernel that knows nothing of park started it.
        TakenByKernel = "taken-by-kernel",
        /// An INIT took it out of its bay, and nobody started it.
        TakenByInit = "taken-by-init",
        /// It took the entry of a kernel that is no more, in memory that was left to it.
        TookOldEntry = "took-old-entry",
        /// Its kernel left it behind, running.
        LeftBehind = "left-behind",
        /// It never came to its bay.
        NeverArrived = "never-arrived",
        /// Its bay is quarantined.
        Quarantined = "quarantined",
    }
}

names! {
    /// An end of the machine that a mechanism declares.
    Declared {
        /// The bootstrap processor takes an INIT from a kernel that knows nothing of park.
        BspInit = "bsp-init",
        /// A broadcast machine check finds a CPU in wait-for-SIPI.
        McBroadcast = "mc-broadcast",
        /// SMM waits for ever for a CPU in wait-for-SIPI or with GIF = 0.
        SmiRendezvous = "smi-rendezvous",
        /// A machine check with GIF = 0.
        McGif0 = "mc-gif-0",
    }
}
