//! The questions that the image asks of silicon are the simulator's knobs, and the answers their values.

use std::collections::BTreeSet;

use park_metal::silicon::{Asking, Question};
use park_sim::machine::Knob;

#[test]
fn every_answer_stands_for_a_value_of_its_knob() {
    for question in Question::ALL {
        let subject = question.subject();
        let values = subject.answers.iter().filter_map(|answer| answer.knob_value);
        let Some(name) = subject.knob else {
            assert_eq!(values.count(), 0, "{}: values of no knob", subject.name);
            continue;
        };
        let knob = Knob::from_name(name).unwrap_or_else(|| panic!("{}: no knob is named {name}", subject.name));
        let found: BTreeSet<_> = values.collect();
        let known: BTreeSet<_> = knob.values().iter().copied().collect();
        // All of them: a value that no answer stands for could not be told from another.
        assert_eq!(found, known, "{}", subject.name);
    }
}

#[test]
fn every_knob_has_a_question() {
    for knob in Knob::ALL {
        let asked = Question::ALL.iter().any(|question| question.subject().knob == Some(knob.name()));
        assert!(asked, "no question asks for {}", knob.name());
    }
}

#[test]
fn what_is_asked_says_how_it_is_measured_and_what_is_not_says_why() {
    for question in Question::ALL {
        let subject = question.subject();
        assert_eq!(matches!(subject.asking, Asking::Never(_)), subject.measured == "-", "{}", subject.name);
        if let Asking::ByName(why) | Asking::Never(why) = subject.asking {
            assert!(why.len() > 10, "{}", subject.name);
        }
    }
}
